"""From a family's config to its page: train, evaluate, select, report. Imports no family; it is given one."""
