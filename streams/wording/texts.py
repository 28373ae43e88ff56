"""Our own words in English and Persian; what teams write (KPIs' questions, rules, owners) stays as written."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

from streams.wording.case_texts import CASE_WORDS

Lang: TypeAlias = Literal["en", "fa"]
LANGS: Final[tuple[Lang, ...]] = get_args(Lang)

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    # page and controls
    "title": ("Customer experience, live", "تجربهٔ مشتری، زنده"),
    "skip": ("Skip to the numbers", "پرش به عددها"),
    "window": ("Window", "بازه"),
    "channel": ("Channel", "کانال"),
    "theme": ("Colours", "رنگ‌ها"),
    "theme_auto": ("As the device", "مانند دستگاه"),
    "theme_light": ("Light", "روشن"),
    "theme_dark": ("Dark", "تیره"),
    "controls": ("View", "نما"),
    "all": ("All", "همه"),
    "web": ("Web", "وب"),
    "app": ("App", "برنامه"),
    "store": ("Store", "فروشگاه"),
    "call_center": ("Call centre", "مرکز تماس"),
    "total": ("since start", "از آغاز"),
    "other_language": ("فارسی", "English"),
    # freshness and errors
    "live": ("Live", "زنده"),
    "data_until": ("Data until", "داده‌ها تا"),
    "no_numbers_yet": ("No closed minute yet", "هنوز دقیقه‌ای بسته نشده"),
    "waiting": (
        "ClickHouse answers, but no minute has closed yet. Numbers that are here already still change.",
        "ClickHouse پاسخ می‌دهد، اما هنوز دقیقه‌ای بسته نشده است. عددهایی که دیده می‌شوند هنوز تغییر می‌کنند.",
    ),
    "store_away": (
        "ClickHouse does not answer since",
        "ClickHouse پاسخ نمی‌دهد از",
    ),
    "stale_shown": (
        "the last known values are shown, marked stale.",
        "آخرین مقدارها، با نشان کهنه، نمایش داده می‌شوند.",
    ),
    "store_refuses": ("ClickHouse refuses to answer:", "ClickHouse پاسخ نمی‌دهد، چون:"),
    "still": (
        "The numbers stand still: the newest closed minute is from",
        "عددها ایستاده‌اند: تازه‌ترین دقیقهٔ بسته از این زمان است:",
    ),
    "page_away": (
        "The page's server does not answer: values are stale. Trying again …",
        "کارساز صفحه پاسخ نمی‌دهد: مقدارها کهنه‌اند. در حال تلاش دوباره …",
    ),
    "stale": ("stale", "کهنه"),
    # tiles
    "kpis": ("Key figures", "شاخص‌های کلیدی"),
    "group_voice": ("What customers say", "مشتریان چه می‌گویند"),
    "group_digital": ("Web and app", "وب و برنامه"),
    "group_contact": ("Contact centre", "مرکز تماس"),
    "group_fulfilment": ("Delivery and stores", "تحویل و فروشگاه"),
    "no_data": ("no data", "بدون داده"),
    "meets": ("meets the target", "به هدف رسیده:"),
    "misses": ("misses the target", "به هدف نرسیده:"),
    "unsure": ("not sure against the target", "نسبت به هدف نامطمئن:"),
    "at_least": ("≥", "دست‌کم"),
    "at_most": ("≤", "حداکثر"),
    "wall": ("Wall", "دیوار"),
    "thin": ("few answers", "پاسخ اندک"),
    "too_few": ("too few for an interval", "برای بازه کافی نیست"),
    "never_sent": ("no data: never received", "بدون داده: هرگز نرسیده است"),
    "several_currencies": ("no data: several currencies", "بدون داده: چند ارز"),
    "first_minute": ("counted once its first minute is over", "پس از پایان نخستین دقیقه‌اش شمرده می‌شود"),
    "not_kept": ("not kept by channel", "به تفکیک کانال نیست"),
    "n": ("n", "تعداد"),
    "interval": ("95 % interval", "بازهٔ ۹۵٪"),
    "to": ("to", "تا"),
    "median": ("median", "میانه"),
    "quantile": ("quantile", "چندک"),
    "as_of": ("as of", "تا"),
    "now": ("now", "اکنون"),
    "counting": ("still counting", "هنوز در شمارش"),
    "counting_why": (
        "still counting: it holds the minute that is not over yet",
        "هنوز در شمارش: دقیقه‌ای را در بر دارد که به پایان نرسیده است",
    ),
    "closed": ("closed", "بسته"),
    "closed_why": (
        "closed: no more events are expected, only late ones may change it",
        "بسته: رویداد دیگری در راه نیست، تنها دیررسیده‌ها می‌توانند آن را تغییر دهند",
    ),
    "better": ("better", "بهتر"),
    "worse": ("worse", "بدتر"),
    "changed": ("changed", "تغییر"),
    "no_clear_change": ("no clear change", "بی‌تغییرِ روشن"),
    "against_week": ("vs a week earlier", "نسبت به هفتهٔ پیش"),
    "against_day": ("vs a day earlier", "نسبت به روز پیش"),
    "against_24h": ("vs the 24 h before", "نسبت به ۲۴ ساعت پیش"),
    "no_baseline": ("nothing earlier to compare", "چیزی برای مقایسه نیست"),
    "percentage_points": ("pp", "واحد"),
    "details": ("details", "جزئیات"),
    "course": ("Course", "روند"),
    "course_of": ("course of the last", "روند"),
    # heat map
    "heat": ("Channel × touchpoint", "کانال × نقطهٔ تماس"),
    "heat_kpi": ("KPI of the map", "شاخص نقشه"),
    "touchpoint": ("Touchpoint", "نقطهٔ تماس"),
    "surely_better": ("surely better than the whole", "به‌یقین بهتر از کل"),
    "surely_worse": ("surely worse than the whole", "به‌یقین بدتر از کل"),
    "surely_above": ("surely above the whole", "به‌یقین بیش از کل"),
    "surely_below": ("surely below the whole", "به‌یقین کمتر از کل"),
    "like_whole": ("not told apart from the whole", "تفاوتی با کل دیده نمی‌شود"),
    "whole": ("Whole", "کل"),
    "legend": ("Key", "راهنما"),
    "show": ("Show", "نمایش"),
    # alerts
    "alerts": ("Alerts", "هشدارها"),
    "no_alerts": ("No alerts.", "هشداری نیست."),
    "alerts_absent": ("This store keeps no alerts yet.", "این مخزن هنوز هشداری نگه نمی‌دارد."),
    "alert": ("alert", "هشدار"),
    "alerts_firing": ("Alerts firing", "هشدارهای فعال"),
    "firing": ("firing", "فعال"),
    "pending": ("pending", "در آستانه"),
    "resolved": ("resolved", "برطرف‌شده"),
    "inactive": ("ended", "پایان‌یافته"),
    "since": ("since", "از"),
    "page": ("page", "فوری"),
    "ticket": ("ticket", "پیگیری"),
    "info": ("info", "آگاهی"),
    "because": ("What explains it", "چه چیزی آن را توضیح می‌دهد"),
    "suspects": ("Just before", "درست پیش از آن"),
    "check_first": ("Check first", "نخست بررسی کنید"),
    "runbook": ("runbook", "راهنمای رفع"),
    "held_back": ("held back by", "بازداشته به سبب"),
    "owner": ("Owner", "مسئول"),
    "new_alert": ("New alert", "هشدار تازه"),
    "baseline": ("before", "پیش‌تر"),
    "week_report": ("The week in customer experience", "هفته در تجربهٔ مشتری"),
    # verbatims
    "verbatims": ("In their own words", "به زبان خودشان"),
    "no_verbatims": ("Nobody has written anything lately.", "تازگی کسی چیزی ننوشته است."),
    "customer": ("Customer", "مشتری"),
    "rated": ("rated", "امتیاز"),
    "of": ("of", "از"),
    # what to do first
    "advice": ("What to do first", "نخست چه کنیم"),
    "satisfaction": ("satisfaction", "رضایت"),
    "gain": ("gain", "بهبود"),
    "customers_a_month": ("customers a month", "مشتری در ماه"),
    "at_stake": ("at stake", "در گرو"),
    "days_of_work": ("days of work", "روز کار"),
    "association": ("association, not cause", "همبستگی، نه علت"),
    "experiment": ("shown by an experiment", "نشان‌داده با آزمایش"),
    # synthetic paths
    "paths": ("Synthetic paths", "مسیرهای آزمایشی"),
    "last_run": ("last run", "آخرین اجرا"),
    "no_runs": ("no run", "بدون اجرا"),
    "path_fails": ("an alert fires on it", "هشداری برای آن فعال است"),
    "path_silent": ("has not run", "اجرا نشده است"),
    "path_partly": ("runs failed", "اجرای ناموفق داشت"),
    "path_succeeds": ("all runs succeeded", "همهٔ اجراها موفق بود"),
    # pipeline
    "pipeline": ("Pipeline", "خط پردازش"),
    "events_per_second": ("Events per second", "رویداد در ثانیه"),
    "balance": ("Outcomes", "سرانجام رویدادها"),
    "read": ("read", "خوانده"),
    "counted": ("counted", "شمرده"),
    "duplicate": ("duplicate", "تکراری"),
    "late": ("late", "دیررسیده"),
    "bad": ("refused", "ردشده"),
    "conflict": ("in conflict", "ناسازگار"),
    "adds_up": ("adds up", "تراز است"),
    "does_not_add_up": ("does not add up", "تراز نیست"),
    "delay": ("Event to store, 95 % within", "از رویداد تا ذخیره، ۹۵٪ در"),
    "watermark": ("Closed until", "بسته تا"),
    "last_stored": ("Last stored", "آخرین ذخیره"),
    "dead_letters": ("Refused in the last hour, by reason", "ردشده‌ها در ساعت گذشته، بر پایهٔ دلیل"),
    "none_refused": ("None refused.", "هیچ‌کدام رد نشد."),
    "troubles": ("Stopped or not stored", "متوقف یا ذخیره‌نشده"),
    "trouble_stopped": ("is stopped: most of its records are bad", "متوقف است: بیشتر رکوردهایش نادرست‌اند"),
    "trouble_waiting": ("waits for a right clock", "منتظر ساعت درست است"),
    "trouble_uncounted": (
        "is not counted: its ranges contradict each other",
        "شمرده نمی‌شود: بازه‌هایش با هم ناسازگارند",
    ),
    "trouble_not_stored": ("is not stored", "ذخیره نمی‌شود"),
    "clickhouse": ("ClickHouse", "ClickHouse"),
    "fullest": ("parts in the fullest partition", "قطعه در پرترین بخش"),
    "merges": ("merges running", "ادغام در جریان"),
    "unknown": ("unknown", "نامعلوم"),
    # details of a KPI
    "close": ("Close", "بستن"),
    "formula": ("Formula", "فرمول"),
    "definition": ("Definition", "تعریف"),
    "question": ("Question", "پرسش"),
    "source": ("Source", "منبع"),
    "unit": ("Unit", "یکا"),
    "by_label": ("By label", "بر پایهٔ برچسب"),
    "label": ("Label", "برچسب"),
    "value": ("Value", "مقدار"),
    "min_n": ("Shown from n, coloured from n", "نمایش از تعداد، رنگ از تعداد"),
    "week_before": ("the same times a week before", "همین ساعت‌ها، یک هفته پیش"),
    "went_live": ("Released or begun", "منتشرشده یا آغازشده"),
    "table_of_course": ("The course as a table", "روند به‌صورت جدول"),
    "time": ("Time", "زمان"),
    "maturity": ("What counts", "چه چیزی به شمار می‌آید"),
    "maturity_immediate": ("known at once", "بی‌درنگ معلوم است"),
    "maturity_provisional": ("for now, until the outcome is known", "موقت، تا نتیجه معلوم شود"),
    "maturity_matured": ("after the wait for the outcome", "پس از انتظار برای نتیجه"),
    "loading": ("Reading …", "در حال خواندن …"),
    "more": ("more", "بیشتر"),
    # units
    "unit_minutes": ("min", "دقیقه"),
    "unit_seconds": ("s", "ثانیه"),
    "unit_hours": ("h", "ساعت"),
    "unit_days": ("d", "روز"),
    "unit_milliseconds": ("ms", "میلی‌ثانیه"),
    "unit_points": ("pts", "امتیاز"),
    "unit_count": ("count", "شمار"),
    "unit_percent": ("percent", "درصد"),
    "unit_per_100": ("per 100", "در هر ۱۰۰"),
    "unit_score": ("score", "نمره"),
    "unit_fraction": ("fraction", "نسبت"),
    "unit_currency": ("currency", "پول"),
    "billion": ("bn", "میلیارد"),
    "million": ("M", "میلیون"),
    "thousand": ("k", "هزار"),
    "minutes_short": ("min", "دقیقه"),
    "hours_short": ("h", "ساعت"),
    "days_short": ("d", "روز"),
    # labels
    "label_channel": ("Channel", "کانال"),
    "label_touchpoint": ("Touchpoint", "نقطهٔ تماس"),
    "label_stage": ("Stage", "مرحله"),
    "label_page": ("Page", "صفحه"),
    "label_agentid": ("Agent", "کارشناس"),
    "label_unitid": ("Unit", "واحد"),
    "label_segment": ("Segment", "گروه مشتری"),
    "label_region": ("Region", "منطقه"),
    "label_queue": ("Queue", "صف"),
    "label_topic": ("Topic", "موضوع"),
    "label_device": ("Device", "دستگاه"),
    "label_delivery": ("Delivery", "تحویل"),
    "label_experiment": ("Experiment", "آزمایش"),
    "label_variant": ("Variant", "گونه"),
    "label_carrier": ("Carrier", "پیک"),
    "label_method": ("Method", "روش"),
    "label_product": ("Product", "محصول"),
    "label_version": ("Version", "نسخه"),
    "label_service": ("Service", "خدمت"),
    "label_type": ("Event type", "نوع رویداد"),
    "label_code": ("Code", "کد"),
    "label_reason": ("Reason", "دلیل"),
    "label_platform": ("Platform", "سکو"),
    "label_collector": ("Collector", "گردآور"),
    "label_campaign": ("Campaign", "کارزار"),
    # stages
    "awareness": ("Awareness", "آگاهی"),
    "discovery": ("Discovery", "یافتن"),
    "evaluation": ("Evaluation", "سنجش"),
    "conversion": ("Purchase", "خرید"),
    "experience": ("Experience", "تجربه"),
    "support": ("Support", "پشتیبانی"),
    "repurchase": ("Repurchase", "خرید دوباره"),
    # reasons of refusal
    "reason_not_utf8": ("not UTF-8", "نویسهٔ نادرست"),
    "reason_not_json": ("not JSON", "JSON نیست"),
    "reason_missing_field": ("field missing", "فیلد گم‌شده"),
    "reason_wrong_type": ("wrong type", "نوع نادرست"),
    "reason_not_in_enum": ("unknown value", "مقدار ناشناخته"),
    "reason_bad_time": ("unusable time", "زمان نادرست"),
    "reason_time_in_future": ("time in the future", "زمان در آینده"),
    "reason_unknown_type": ("unknown event type", "نوع رویداد ناشناخته"),
    "reason_null_record": ("no value", "بدون مقدار"),
    "reason_empty_record": ("empty", "تهی"),
    "reason_too_large": ("too large", "بیش از اندازه بزرگ"),
    "reason_too_deep": ("nested too deep", "تودرتویی زیاد"),
    "reason_too_many_values": ("too many values", "مقدارهای بیش از اندازه"),
    "reason_number_too_long": ("number too long", "عدد بیش از اندازه دراز"),
    "reason_refused_by_store": ("not taken by ClickHouse", "پذیرفته‌نشده در ClickHouse"),
    "reason_not_an_object": ("not an object", "شیء نیست"),
    "reason_out_of_range": ("out of range", "بیرون از بازه"),
    "reason_bad_length": ("wrong length", "طول نادرست"),
    "reason_bad_format": ("wrong format", "قالب نادرست"),
    "reason_bad_rating": ("unusable rating", "امتیاز نادرست"),
    "reason_duplicate_key": ("key twice", "کلید تکراری"),
    "reason_invalid": ("invalid", "نامعتبر"),
    "reason_conflict": ("same id, other content", "شناسهٔ یکسان، محتوای دیگر"),
    "reason_time_too_old": ("time too old", "زمان بسیار قدیمی"),
    **CASE_WORDS,
}


class Texts:
    """The words of one language."""

    def __init__(self, lang: Lang) -> None:
        self.lang: Lang = lang
        self._index = LANGS.index(lang)

    def __getitem__(self, key: str) -> str:
        """Return a text; raises KeyError for one that nobody has written."""
        return _WORDS[key][self._index]

    def get(self, key: str, default: str) -> str:
        """Return a text, or what stands for it when nobody has written one."""
        pair = _WORDS.get(key)
        return pair[self._index] if pair else default

    @property
    def direction(self) -> str:
        """Writing direction of the language."""
        return "rtl" if self.lang == "fa" else "ltr"

    def kpi(self, name: str, name_fa: str) -> str:
        """Return the name of a KPI as its definition calls it; without a Persian one the English."""
        return name_fa if self.lang == "fa" and name_fa else name


def words() -> Mapping[str, tuple[str, ...]]:
    """Return all texts, one per language."""
    return _WORDS


def window_text(name: str, lang: Lang) -> str:
    """Return a window's name as people say it: `15 min`, `24 h`."""
    texts = Texts(lang)
    if name == "total":
        return texts["total"]
    count, unit = name[:-1], {"m": "minutes_short", "h": "hours_short", "d": "days_short"}[name[-1]]
    if lang == "fa":
        count = count.translate(str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹"))
    return f"{count}\u00a0{texts[unit]}"


def series_text(labels: Mapping[str, str], lang: Lang) -> str:
    """Name a series by its labels: `channel web, touchpoint checkout`; without any, `overall`."""
    if lang == "en":
        return ", ".join(f"{name} {value}" for name, value in labels.items()) or "overall"
    texts = Texts(lang)
    shown = [
        f"{texts.get(f'label_{name}', name)} {texts.get(value, value) if name in {'channel', 'stage'} else value}"
        for name, value in labels.items()
    ]
    return "، ".join(shown) or "در کل"
