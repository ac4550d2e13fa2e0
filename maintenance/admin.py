"""What the admin has of the ledger and of access."""

from django.contrib import admin
from django.contrib.auth.models import User

from maintenance.console.access import ApiTokenAdmin, AuditEntryAdmin
from maintenance.console.jobs import JobAdmin
from maintenance.console.users import ConsoleUserAdmin
from maintenance.models import ApiToken, AuditEntry, Job

admin.site.register(Job, JobAdmin)
admin.site.register(ApiToken, ApiTokenAdmin)
admin.site.register(AuditEntry, AuditEntryAdmin)
admin.site.unregister(User)
admin.site.register(User, ConsoleUserAdmin)
