"""A small HTTP host for one machine: it runs `main:handler` as Nuclio does, without Nuclio."""
