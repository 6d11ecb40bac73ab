from orgadmin.management.output import EscapedCommand
from orgadmin.management.settings_table import list_settings, list_unknown_variables


class Command(EscapedCommand):
    help = (
        "Print the settings that apply, and where each of them comes from. Secrets are"
        " hidden."
    )
    # The command must work even if the settings are wrong.
    requires_system_checks: list[str] = []

    def handle(self, **options):
        rows = list_settings()
        name_width = max(len(row.name) for row in rows)
        text_width = max(len(row.text) for row in rows)
        for row in rows:
            line = f"{row.name:{name_width}}  {row.text:{text_width}}  {row.source}"
            self.stdout.write(line)
        for name, line_number in list_unknown_variables():
            self.stderr.write(
                f"Line {line_number}: this site does not read {name}. Check how it is"
                " spelled. If it is for another program, leave it."
            )
