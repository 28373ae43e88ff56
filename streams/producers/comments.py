"""What customers write, in Persian and English, about what they lived through."""

from random import Random
from typing import Final

from streams.producers.population import Customer

HALF_SPACE: Final = "\u200c"

# Underscores stand for the half-space, which some writers leave out or type as a space.
_PERSIAN: Final[dict[str, tuple[str, ...]]] = {
    "wait": (
        "خیلی پشت خط منتظر موندم", "نیم_ساعت تو صف تلفن بودم و کسی جواب نمی_داد",
        "چرا اینقدر دیر جواب می_دهید؟", "زمان انتظار برای پاسخ_گویی واقعاً زیاده",
    ),
    "unresolved": (
        "مشکلم حل نشد و دوباره باید تماس بگیرم", "هیچ_کس مسئولیت قبول نمی_کنه",
        "پشتیبان فقط گفت پیگیری می_کنیم ولی خبری نشد", "سه بار تماس گرفتم و هنوز نتیجه_ای نگرفتم",
    ),
    "transfer": (
        "مدام از این بخش به اون بخش وصلم کردند", "مجبور شدم مشکلم رو چند_بار توضیح بدم",
    ),
    "payment": (
        "پرداختم ناموفق بود ولی پول از حسابم کم شد", "درگاه پرداخت خطا می_ده",
        "سه بار کارت کشیدم و هر بار خطا داد", "موقع پرداخت صفحه باز نمی_شه",
    ),
    "crash": (
        "برنامه بعد از به_روزرسانی مدام بسته می_شه", "اپلیکیشن هنگ می_کنه، لطفاً درستش کنید",
        "نسخه_ی جدید اصلاً باز نمی_شود", "تا وارد سبد خرید می_شم می_پره بیرون",
    ),
    "slow": (
        "سایت خیلی کنده و صفحه_ها دیر باز می_شن", "سرعت بارگذاری افتضاحه", "همه_چیز با تأخیر باز می_شه",
    ),
    "late": (
        "سفارشم خیلی دیر رسید", "قول امروز دادید ولی فردا رسید", "پیک با چند ساعت تأخیر اومد و خبر هم نداد",
        "تحویل به_موقع نبود و برنامه_م به هم ریخت",
    ),
    "damaged": (
        "بسته_بندی پاره بود و کالا آسیب دیده", "شیشه_ش شکسته به دستم رسید", "کالای خراب فرستادید",
    ),
    "incomplete": ("یکی از کالاها تو بسته نبود", "سفارشم ناقص رسید"),
    "queue": ("صف صندوق خیلی طولانی بود", "فقط یک صندوق باز بود و نیم_ساعت ایستادیم", "فروشگاه شلوغ و نیرو کم بود"),
    "stock_out": ("کالایی که می_خواستم موجود نبود", "هر بار میام جنس موردنظرم تموم شده"),
    "search": ("هر چی جست_وجو کردم پیدا نشد", "جستجوی سایت درست کار نمی_کنه"),
    "refund": ("پولم رو هنوز برنگردوندید", "بازگشت وجه خیلی طول کشید"),
    "good_service": (
        "پشتیبان خیلی محترم و صبور بود، ممنونم", "مشکلم سریع حل شد، دستتون درد نکنه", "پاسخ_گویی عالی بود",
    ),
    "good_delivery": (
        "سریع و سالم به دستم رسید", "بسته_بندی عالی و تحویل به_موقع", "پیک خوش_برخورد بود، ممنون",
    ),
    "good_digital": ("خرید خیلی راحت بود", "همه_چیز ساده و سریع انجام شد", "از طراحی برنامه خوشم اومد"),
    "good_store": ("فروشنده_ها خوش_برخورد بودند", "محیط تمیز و صف کوتاه بود"),
    "neutral": ("معمولی بود", "بد نبود ولی می_تونه بهتر باشه", "قیمت_ها کمی بالاست"),
}  # fmt: skip
_ENGLISH: Final[dict[str, tuple[str, ...]]] = {
    "wait": ("Waited far too long for someone to answer", "On hold forever"),
    "unresolved": ("My problem is still not solved", "Called three times and nothing happened"),
    "transfer": ("Passed around between departments", "Had to explain everything again and again"),
    "payment": ("Payment failed but the money was taken", "The payment page keeps showing an error"),
    "crash": ("The app crashes since the update", "Keeps closing when I open the cart"),
    "slow": ("The site is painfully slow", "Pages take ages to load"),
    "late": ("Delivery came much later than promised", "Nobody told me it would be late"),
    "damaged": ("The item arrived broken", "Box was torn and the product damaged"),
    "incomplete": ("One item was missing from the parcel",),
    "queue": ("Only one till open and a huge queue",),
    "stock_out": ("What I came for was out of stock",),
    "search": ("Search finds nothing",),
    "refund": ("Still waiting for my refund",),
    "good_service": ("Very kind and quick help, thank you", "Solved at the first call"),
    "good_delivery": ("Fast delivery, well packed", "Arrived on time and intact"),
    "good_digital": ("Easy to order", "Smooth checkout"),
    "good_store": ("Friendly staff and a short queue",),
    "neutral": ("It was okay", "Average, prices are a bit high"),
}
_TAILS: Final = ("", "", "", " 😡", "!", " لطفاً رسیدگی کنید.", " واقعاً ناامید شدم", " دیگه خرید نمی_کنم")
_GLAD_TAILS: Final = ("", "", "", " 🙏", " 👍", "!", " ممنون", " حتماً باز هم خرید می_کنم")
_PERSIAN_DIGITS: Final = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")
_ARABIC_DIGITS: Final = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
_ARABIC_LETTERS: Final = str.maketrans({"ی": "ي", "ک": "ك"})

CAUSES: Final = tuple(_PERSIAN)


def comment(rng: Random, customer: Customer, cause: str, *, glad: bool) -> str:
    """
    Write a comment about a cause in the customer's language and spelling.

    Raises:
        KeyError: the cause is none of `CAUSES`.
    """
    if customer.lang == "en":
        return rng.choice(_ENGLISH[cause])
    text = rng.choice(_PERSIAN[cause]) + rng.choice(_GLAD_TAILS if glad else _TAILS)
    habit = rng.random()
    text = text.replace("_", HALF_SPACE if habit < 0.6 else " " if habit < 0.85 else "")
    return text.translate(_ARABIC_LETTERS) if customer.arabic_letters else text


def written_rating(rng: Random, score: int) -> int | str:
    """Return a rating as a Persian form sends it: mostly a number, sometimes text in one of three alphabets."""
    habit = rng.random()
    if habit < 0.80:
        return score
    digits = str(score)
    if habit < 0.94:
        return digits.translate(_PERSIAN_DIGITS)
    return digits.translate(_ARABIC_DIGITS) if habit < 0.97 else digits
