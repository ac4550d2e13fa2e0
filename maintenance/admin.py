"""What the admin has of the ledger and of access."""

from django.contrib import admin
from django.contrib.auth.models import Group, User

from maintenance.console.access import ApiTokenAdmin, AuditEntryAdmin
from maintenance.console.jobs import JobAdmin
from maintenance.console.users import ConsoleGroupAdmin, ConsoleUserAdmin
from maintenance.models import ApiToken, AuditEntry, Job

admin.site.register(Job, JobAdmin)
admin.site.register(ApiToken, ApiTokenAdmin)
admin.site.register(AuditEntry, AuditEntryAdmin)
admin.site.unregister([User, Group])
admin.site.register(User, ConsoleUserAdmin)
admin.site.register(Group, ConsoleGroupAdmin)
