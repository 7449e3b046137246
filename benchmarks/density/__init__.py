"""Densities of real tables: diffeo's default beside its peers, the same rows, the same seconds.

Read in this order: ``protocol`` (what is done to a table before any method sees it), ``sets`` (the tables),
``methods`` (who is measured), ``worker`` (one process, one fit), ``run`` (the loop, and its journal),
``figures`` (differences and their standard errors) and ``page``.
"""
