"""Every write of backups that carries a rule, by what it is about."""

from backups.services.checks import do_check, drill_run, queue_check, verify_run
from backups.services.forgetting import mirror, obey, remember
from backups.services.keeping import prune, renew_locks, rotate_keys
from backups.services.runs import fail, queue_run, reconcile, runner, take_run
from backups.services.site_restores import ask_for_point, do_restore, find_site, queue_restore, restore_points
from backups.services.working import work
