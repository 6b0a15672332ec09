"""The commands of `iog`, one module each; torch and the like are imported when one runs."""
