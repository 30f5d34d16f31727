"""The fixed texts of published pages in several languages, and the direction of text.

A language without translations gets the English texts.
"""

TRANSLATIONS: dict[str, dict[str, str]] = {
    "en": {
        "skip": "Skip to content",
        "menu": "Menu",
        "missing": "Page not found",
        "missing_text": "There is no page at this address.",
        "home": "Go to the home page",
        "load": "Show content from",
        "notice": "It comes from another website, which may see that you visit.",
        "open_map": "Open the larger map",
        "hours": "Opening hours",
        "posts": "Blog",
        "no_posts": "There are no posts yet.",
        "older": "Older",
        "newer": "Newer",
        "tags": "Tags",
        "paging": "More posts",
        "preview": "Preview: not published yet",
    },
    "de": {
        "skip": "Zum Inhalt",
        "menu": "Menü",
        "missing": "Seite nicht gefunden",
        "missing_text": "Unter dieser Adresse gibt es keine Seite.",
        "home": "Zur Startseite",
        "load": "Inhalt anzeigen von",
        "notice": "Er kommt von einer anderen Website, die Ihren Besuch sehen kann.",
        "open_map": "Größere Karte öffnen",
        "hours": "Öffnungszeiten",
        "posts": "Blog",
        "no_posts": "Es gibt noch keine Beiträge.",
        "older": "Älter",
        "newer": "Neuer",
        "tags": "Schlagwörter",
        "paging": "Weitere Beiträge",
        "preview": "Vorschau: noch nicht veröffentlicht",
    },
    "fr": {
        "skip": "Aller au contenu",
        "menu": "Menu",
        "missing": "Page introuvable",
        "missing_text": "Il n’y a pas de page à cette adresse.",
        "home": "Aller à l’accueil",
        "load": "Afficher le contenu de",
        "notice": "Il vient d’un autre site, qui peut voir votre visite.",
        "open_map": "Ouvrir la grande carte",
        "hours": "Horaires",
        "posts": "Blog",
        "no_posts": "Il n’y a pas encore d’articles.",
        "older": "Plus anciens",
        "newer": "Plus récents",
        "tags": "Mots-clés",
        "paging": "Autres articles",
        "preview": "Aperçu : pas encore publié",
    },
    "es": {
        "skip": "Ir al contenido",
        "menu": "Menú",
        "missing": "Página no encontrada",
        "missing_text": "No hay ninguna página en esta dirección.",
        "home": "Ir al inicio",
        "load": "Mostrar contenido de",
        "notice": "Procede de otro sitio web, que puede ver su visita.",
        "open_map": "Abrir el mapa ampliado",
        "hours": "Horario",
        "posts": "Blog",
        "no_posts": "Todavía no hay entradas.",
        "older": "Anteriores",
        "newer": "Más recientes",
        "tags": "Etiquetas",
        "paging": "Más entradas",
        "preview": "Vista previa: aún sin publicar",
    },
    "ar": {
        "skip": "انتقل إلى المحتوى",
        "menu": "القائمة",
        "missing": "الصفحة غير موجودة",
        "missing_text": "لا توجد صفحة على هذا العنوان.",
        "home": "الصفحة الرئيسية",
        "load": "عرض المحتوى من",
        "notice": "يأتي من موقع آخر قد يرى زيارتك.",
        "open_map": "افتح الخريطة الأكبر",
        "hours": "ساعات العمل",
        "posts": "المدونة",
        "no_posts": "لا توجد مقالات بعد.",
        "older": "الأقدم",
        "newer": "الأحدث",
        "tags": "الوسوم",
        "paging": "مقالات أخرى",
        "preview": "معاينة: لم يُنشر بعد",
    },
    "he": {
        "skip": "דלג לתוכן",
        "menu": "תפריט",
        "missing": "הדף לא נמצא",
        "missing_text": "אין דף בכתובת הזו.",
        "home": "לדף הבית",
        "load": "הצגת תוכן מאת",
        "notice": "התוכן מגיע מאתר אחר, שיכול לראות את הביקור.",
        "open_map": "פתיחת המפה המלאה",
        "hours": "שעות פתיחה",
        "posts": "בלוג",
        "no_posts": "אין עדיין פוסטים.",
        "older": "ישנים יותר",
        "newer": "חדשים יותר",
        "tags": "תגיות",
        "paging": "פוסטים נוספים",
        "preview": "תצוגה מקדימה: טרם פורסם",
    },
}

RIGHT_TO_LEFT = {"ar", "he", "fa", "ur", "ps", "sd", "ug", "yi", "dv", "ckb", "Arab", "Hebr", "Thaa", "Syrc"}


def get_translations(locale: str) -> dict[str, str]:
    """Return the fixed texts for a BCP 47 tag, by the key that templates use."""
    return TRANSLATIONS.get(locale.split("-", maxsplit=1)[0], TRANSLATIONS["en"])


def text_direction(locale: str) -> str:
    """Return `rtl` or `ltr` for a BCP 47 tag. A script in the tag has precedence over the language."""
    language, _, rest = locale.partition("-")
    script = rest[:4] if len(rest.split("-")[0]) == 4 else ""
    return "rtl" if (script or language) in RIGHT_TO_LEFT else "ltr"
