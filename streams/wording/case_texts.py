"""The words of the case page in English and Persian, and what has happened to cases in Persian."""

import re
from collections.abc import Callable, Mapping
from typing import Final

CASE_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "cases": ("Cases", "پرونده‌ها"),
    "cases_title": ("Cases, the most urgent first", "پرونده‌ها، فوری‌ترین در آغاز"),
    "case": ("Case", "پرونده"),
    "to_numbers": ("Numbers", "شاخص‌ها"),
    "skip_to_queue": ("Skip to the queue", "پرش به صف"),
    "queue": ("Queue", "صف"),
    "filters": ("Show only", "تنها نمایش"),
    "case_state": ("State", "وضعیت"),
    "case_cause": ("Cause", "علت"),
    "case_owner": ("Owner", "مسئول"),
    "nobody": ("nobody", "هیچ‌کس"),
    "any": ("all", "همه"),
    "state_open": ("open", "باز"),
    "state_waiting": ("waits for the customer", "در انتظار مشتری"),
    "state_closed": ("closed", "بسته"),
    "state_missed": ("missed", "از زمان گذشته"),
    "filter_open": ("not closed", "بسته‌نشده"),
    "filter_waiting": ("waiting for the customer", "در انتظار مشتری"),
    "filter_missed": ("a clock was missed", "از زمان گذشته"),
    "filter_closed": ("closed", "بسته"),
    "urgency": ("Urgency", "فوریت"),
    "why_first": ("Why it comes here", "چرا در این جایگاه است"),
    "part_tier": ("tier", "رده"),
    "part_severity": ("severity", "شدت"),
    "part_churn": ("churn risk", "خطر رفتن"),
    "part_missed": ("missed clocks", "زمان‌های گذشته"),
    "part_age": ("age in hours", "سن به ساعت"),
    "part_priority": ("priority", "اولویت"),
    "part_reopened": ("came back", "بازگشت"),
    "part_value": ("value", "ارزش"),
    "not_known": ("not known", "نامعلوم"),
    "due_contact": ("contact", "تماس"),
    "due_close": ("close", "بستن"),
    "due_over": ("overdue", "دیر شده"),
    "due_soon": ("soon", "به‌زودی"),
    "due_later": ("in time", "در زمان"),
    "due_none": ("no clock runs", "زمانی در کار نیست"),
    "no_due": ("no time is set", "زمانی تعیین نشده"),
    "in_time": ("in time", "در زمان"),
    "too_late": ("late", "دیر"),
    "not_yet": ("not yet, due by", "هنوز نه، تا"),
    "contact_of": ("Contact", "تماس"),
    "closing_of": ("Closing", "بستن"),
    "opened_at": ("Opened", "گشوده‌شده"),
    "came_back": ("Came back", "بازگشت"),
    "facts": ("Occasions", "موردها"),
    "times": ("times", "بار"),
    "priority": ("Priority", "اولویت"),
    "version": ("version", "نسخه"),
    "where": ("Where", "کجا"),
    "skip_to_case": ("Skip to the case", "پرش به پرونده"),
    "story_of": ("The story of customer", "داستان مشتری"),
    "no_story": ("Nothing is stored of this customer.", "از این مشتری چیزی نگه‌داری نشده است."),
    "older_events": ("older events", "رویداد پیش‌تر"),
    "emptied_events": ("events past the retention of their text", "رویداد که زمان نگه‌داری متن آن گذشته است"),
    "emptied_history": ("Past its retention.", "زمان نگه‌داری آن گذشته است."),
    "found_relation": ("Found out", "دریافت شد"),
    "history": ("What has happened", "چه گذشته است"),
    "refused": ("refused", "پذیرفته نشد"),
    "via_page": ("on this page", "در این صفحه"),
    "via_command": ("by `cx cases`", "با `cx cases`"),
    "no_case": ("There is no case of this name:", "پرونده‌ای با این نام نیست:"),
    "back_to_queue": ("Back to the queue", "بازگشت به صف"),
    "queue_empty": ("No case is open. Nobody waits for you.", "هیچ پرونده‌ای باز نیست. کسی منتظر شما نیست."),
    "queue_filtered": ("No case is like that.", "پرونده‌ای چنین نیست."),
    "show_all": ("Show all open cases", "نمایش همهٔ پرونده‌های باز"),
    "cases_off": (
        "No rules open cases here. Start with CX_CASES=shipped, or with rules of your own: docs/CASES.md.",
        "در اینجا هیچ قاعده‌ای پرونده نمی‌گشاید. با CX_CASES=shipped یا قاعده‌های خودتان آغاز کنید: docs/CASES.md.",
    ),
    "cases_of": ("cases", "پرونده"),
    "cases_read": (
        "Only the open cases that are due first were looked through:",
        "تنها پرونده‌های بازی دیده شد که زمانشان زودتر می‌رسد:",
    ),
    "sign_in": ("Sign in to act", "برای اقدام وارد شوید"),
    "sign_in_title": ("Sign in", "ورود"),
    "sign_in_why": (
        "What you do to a case is noted with your name. The key is that of this page: whoever runs it gives it to you.",
        "هر اقدام روی پرونده با نام شما ثبت می‌شود. کلید از آنِ همین صفحه است و گردانندهٔ آن به شما می‌دهد.",
    ),
    "sign_in_name": ("A name is needed, of 64 characters at most.", "نام لازم است، حداکثر ۶۴ نویسه."),
    "sign_in_wrong": ("This is not the key.", "کلید درست نیست."),
    "sign_in_wait": (
        "Too many wrong keys from here: try again in a minute.",
        "کلید نادرست بیش از اندازه: یک دقیقهٔ دیگر بکوشید.",
    ),
    "sign_out": ("Sign out", "خروج"),
    "signed_in": ("Signed in as", "با نام"),
    "your_name": ("Your name", "نام شما"),
    "page_key": ("Key", "کلید"),
    "reading_only": ("This page only shows: docs/CASES.md", "این صفحه تنها نمایش می‌دهد: docs/CASES.md"),
    "act": ("Act", "اقدام"),
    "do_assign": ("Assign", "سپردن"),
    "do_contact": ("Contacted", "تماس گرفته شد"),
    "do_not_reached": ("Nobody answered", "پاسخی نبود"),
    "do_close": ("Close", "بستن"),
    "do_reopen": ("Reopen", "بازگشودن"),
    "do_hold": ("Waits for the customer", "در انتظار مشتری"),
    "do_resume": ("Goes on", "ادامه می‌یابد"),
    "assign_to": ("Assign to", "سپردن به"),
    "how_ended": ("How did it end?", "چگونه پایان یافت؟"),
    "cancel": ("Cancel", "انصراف"),
    "done_before": ("(it was done before)", "(پیش‌تر انجام شده بود)"),
    "sending": ("on its way …", "در راه …"),
    "unsent": ("The page's server does not answer; nothing was sent.", "کارساز صفحه پاسخ نمی‌دهد؛ چیزی فرستاده نشد."),
    "keys": ("Keys", "کلیدها"),
    "key_move": ("next, previous case", "پروندهٔ بعدی، پیشین"),
    "key_open": ("open the case", "گشودن پرونده"),
    "key_back": ("back to the queue", "بازگشت به صف"),
    "key_help": ("this help", "همین راهنما"),
    "key_wait": ("waits for the customer, goes on", "در انتظار مشتری، ادامه"),
    "outcome_rescued": ("rescued", "بازگردانده شد"),
    "outcome_satisfied": ("satisfied", "خشنود"),
    "outcome_unsatisfied": ("unsatisfied", "ناخشنود"),
    "outcome_unreachable": ("unreachable", "در دسترس نبود"),
    "outcome_lost": ("lost", "از دست رفت"),
    "outcome_informed": ("informed", "آگاه شد"),
}  # fmt: skip

_CLOCKS: Final = {"contact": "زمان تماس", "close": "زمان بستن"}
_OUTCOMES: Final = {
    name.removeprefix("outcome_"): pair[1] for name, pair in CASE_WORDS.items() if name.startswith("outcome_")
}
_PRIORITIES: Final = {"normal": "عادی", "urgent": "فوری", "low": "کم", "high": "زیاد"}
_DIGITS: Final = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")
_PLAIN: Final = {
    "sent; whether it is taken will be seen in the history": "فرستاده شد؛ نتیجه در تاریخچه دیده خواهد شد",
    "too many actions wait for their answers; try again in a moment": "اقدام‌های بسیار در راه‌اند؛ اندکی دیگر بکوشید",
    "the case is closed; reopen it first": "پرونده بسته است؛ نخست آن را باز کنید",
    "the case is already closed": "پرونده از پیش بسته است",
    "the case is open": "پرونده باز است",
    "the case waits for the customer already": "پرونده از پیش در انتظار مشتری است",
    "the case does not wait for the customer": "پرونده در انتظار مشتری نیست",
}


def _by(name: str | None) -> str:
    return f" به دست {name}" if name else ""


_BY: Final = r"(?: by (?P<by>.*?))?"
_PHRASES: Final[tuple[tuple[str, Callable[[Mapping[str, str]], str]], ...]] = (
    (r"Kafka at (?P<of>\S+) does not take.*", lambda at: f"Kafka در {at['of']} رویداد را نمی‌پذیرد؛ دوباره بکوشید"),
    (r"ClickHouse does not answer: .*", lambda _: "ClickHouse پاسخ نمی‌دهد؛ نتیجه در تاریخچه دیده خواهد شد"),
    (r"there is no case (?P<of>.*)", lambda at: f"پرونده‌ای با نام {at['of']} نیست"),
    (
        r"the case is at version (?P<of>\d+), there is no version (?P<other>\d+) yet",
        lambda at: f"پرونده در نسخهٔ {at['of']} است، نسخهٔ {at['other']} هنوز نیست".translate(_DIGITS),
    ),
    (
        r"(?P<of>.*) meanwhile, version (?P<other>\d+)",
        lambda at: f"در این میان: {in_persian(at['of'])} (نسخهٔ {at['other'].translate(_DIGITS)})",
    ),
    (r"time to (?P<of>contact|close) ends soon", lambda at: f"{_CLOCKS[at['of']]} به‌زودی پایان می‌یابد"),
    (r"time to (?P<of>contact|close) is over", lambda at: f"{_CLOCKS[at['of']]} گذشته است"),
    (r"time to (?P<of>contact|close) was kept after all", lambda at: f"{_CLOCKS[at['of']]} رعایت شده بود"),
    (r"opened(?:: (?P<of>.*))?", lambda at: f"گشوده شد{': ' if at['of'] else ''}{at['of'] or ''}"),
    (rf"assigned to (?P<of>.*?){_BY}", lambda at: f"سپرده شد به {at['of']}{_by(at['by'])}"),
    (
        rf"priority (?P<of>.*?){_BY}",
        lambda at: f"اولویت {_PRIORITIES.get(at['of'], at['of'])}{_by(at['by'])}",
    ),
    (rf"contacted, not reached{_BY}", lambda at: f"تماس گرفته شد، پاسخی نبود{_by(at['by'])}"),
    (rf"contacted{_BY}", lambda at: f"تماس گرفته شد{_by(at['by'])}"),
    (rf"set to wait for the customer{_BY}", lambda at: f"در انتظار مشتری گذاشته شد{_by(at['by'])}"),
    (
        rf"closed{_BY}(?:: (?P<of>\w+))?",
        lambda at: f"بسته شد{_by(at['by'])}" + (f": {_OUTCOMES.get(at['of'], at['of'])}" if at["of"] else ""),
    ),
    (rf"resumed{_BY}", lambda at: f"از سر گرفته شد{_by(at['by'])}"),
    (rf"reopened{_BY}", lambda at: f"دوباره گشوده شد{_by(at['by'])}"),
    (rf"resolved{_BY}", lambda at: f"حل شد{_by(at['by'])}"),
)


def in_persian(text: str) -> str:
    """Return what `streams.loop.writes` says of a case in Persian; what it does not say stays as it is."""
    if text in _PLAIN:
        return _PLAIN[text]
    for pattern, said in _PHRASES:
        if found := re.fullmatch(pattern, text, re.DOTALL):
            return said(found.groupdict())
    return text
