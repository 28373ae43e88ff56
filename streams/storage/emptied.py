"""Events whose payload is past its retention: what is still known of them."""

from typing import Final

ATTRIBUTES: Final = (
    "id", "source", "type", "subject", "channel", "touchpoint", "stage", "sessionid", "journeyid", "orderid",
    "contactid", "unitid", "agentid", "segment", "region", "experiment", "variant", "traceid",
)  # fmt: skip
"""What has a column of its own, and stays."""

_PAIRS: Final = ", ".join(f"'{name}', toString({name})" for name in ATTRIBUTES)
_STATED: Final = (
    "toJSONString(mapFilter((name, value) -> value != '', map('specversion', '1.0',"
    f" 'time', concat(replaceOne(toString(time), ' ', 'T'), 'Z'), {_PAIRS})))"
)
RECORD: Final = (
    f"if(payload != '', payload, concat(left({_STATED}, length({_STATED}) - 1),"
    " if(synthetic, ',\"synthetic\":true', ''), if(timeimputed, ',\"timeimputed\":true', ''), ',\"data\":{',"
    " if(isNull(score), '', concat('\"score\":', toString(score))), '}}'))"
)
"""The payload of a row of `events` in SQL; of one that is emptied, an event that says what its other columns hold."""
