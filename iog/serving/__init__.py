"""A small HTTP host for `main.handler`, for one machine: what Nuclio does, without Nuclio."""
