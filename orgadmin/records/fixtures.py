"""The JSON serializer for `dumpdata`, which keeps exact times.

The setting SERIALIZATION_MODULES selects it. Django's own serializer truncates times to
milliseconds. The hashes of the audit log cover exact times, so the audit log of a
copied database would look as if someone had changed it.
"""

from __future__ import annotations

import datetime
from typing import Any

from django.core.serializers import json
from django.core.serializers.json import Deserializer

__all__ = ["Deserializer", "Serializer"]


class ExactEncoder(json.DjangoJSONEncoder):
    def default(self, o: Any) -> Any:
        if isinstance(o, datetime.datetime):
            return o.isoformat()
        return super().default(o)


class Serializer(json.Serializer):
    def start_serialization(self) -> None:
        self.options.setdefault("cls", ExactEncoder)
        super().start_serialization()
