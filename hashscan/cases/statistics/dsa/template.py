"""The parts of a transparency report: columns, rows, codes and applicability.

Facts of annex I to Commission Implementing Regulation (EU) 2024/2835, with its spelling, spaces and
omissions, so that the files equal the Commission's byte for byte where those give a text.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from itertools import product

_CATEGORIES = """\
Animal welfare|STATEMENT_CATEGORY_ANIMAL_WELFARE
Animal harm|KEYWORD_ANIMAL_HARM
Unlawful sale of animals|KEYWORD_UNLAWFUL_SALE_ANIMALS
Not captured by any other sub-category  |KEYWORD_OTHER
Consumer information infringements|STATEMENT_CATEGORY_CONSUMER_INFORMATION
Hidden advertisement or commercial communication, including by influencers |KEYWORD_HIDDEN_ADVERTISEMENT
Insufficient information on traders |KEYWORD_INSUFFICIENT_INFORMATION_ON_TRADERS
Misleading information about the characteristics of the goods and services|KEYWORD_MISLEADING_INFO_GOODS_SERVICES
Misleading information about the consumer\u2019s rights |KEYWORD_MISLEADING_INFO_CONSUMER_RIGHTS
Non-compliance with pricing regulations  |KEYWORD_NONCOMPLIANCE_PRICING
Not captured by any other sub-category |KEYWORD_OTHER
Cyber violence|STATEMENT_CATEGORY_CYBER_VIOLENCE
Cyber bullying and intimidation|KEYWORD_CYBER_BULLYING_INTIMIDATION
Cyber harassment|KEYWORD_CYBER_HARASSMENT
Cyber incitement to hatred or violence|KEYWORD_CYBER_INCITEMENT
Cyber stalking|KEYWORD_CYBER_STALKING
Non-consensual (intimate) material sharing, including (image-based) sexual abuse (excluding content depicting minors)|KEYWORD_NON_CONSENSUAL_IMAGE_SHARING
Non-consensual sharing of material containing deepfake or similar technology using a third party's features (excluding content depicting minors)|KEYWORD_NON_CONSENSUAL_MATERIAL_DEEPFAKE
Not captured by any other sub-category  |KEYWORD_OTHER
Cyber violence against women|STATEMENT_CATEGORY_CYBER_VIOLENCE_AGAINST_WOMEN
Cyber bullying and intimidation against girls|KEYWORD_BULLYING_AGAINST_GIRLS
Cyber harassment against women|KEYWORD_CYBER_HARASSMENT_AGAINST_WOMEN
Cyber stalking against women|KEYWORD_CYBER_STALKING_AGAINST_WOMEN
Gendered disinformation|KEYWORD_FEMALE_GENDERED_DISINFORMATION
Illegal incitement to violence and hatred against women|KEYWORD_INCITEMENT_AGAINST_WOMEN
Non-consensual (intimate) material sharing against women, including (image-based) sexual abuse against women (excluding content depicting minors)|KEYWORD_NON_CONSENSUAL_IMAGE_SHARING_AGAINST_WOMEN
Non-consensual sharing of material containing deepfake or similar technology using a third party's features against women (excluding content depicting minors)|KEYWORD_NON_CONSENSUAL_MATERIAL_DEEPFAKE_AGAINST_WOMEN
Not captured by any other sub-category  |KEYWORD_OTHER
Data protection and privacy violations|STATEMENT_CATEGORY_DATA_PROTECTION_AND_PRIVACY_VIOLATIONS
Biometric data breach|KEYWORD_BIOMETRIC_DATA_BREACH
Data falsification|KEYWORD_DATA_FALSIFICATION
Missing processing ground for data|KEYWORD_MISSING_PROCESSING_GROUND
Right to be forgotten|KEYWORD_RIGHT_TO_BE_FORGOTTEN
Not captured by any other sub-category  |KEYWORD_OTHER
Illegal or harmful speech|STATEMENT_CATEGORY_ILLEGAL_OR_HARMFUL_SPEECH
Defamation|KEYWORD_DEFAMATION
Discrimination|KEYWORD_DISCRIMINATION
Illegal incitement to violence and hatred based on protected characteristics (hate speech) |KEYWORD_HATE_SPEECH
Not captured by any other sub-category  |KEYWORD_OTHER
Intellectual property infringements|STATEMENT_CATEGORY_INTELLECTUAL_PROPERTY_INFRINGEMENTS
Copyright infringements|KEYWORD_COPYRIGHT_INFRINGEMENT
Design infringements|KEYWORD_DESIGN_INFRINGEMENT
Geographical indications infringements|KEYWORD_GEOGRAPHIC_INDICATIONS_INFRINGEMENT
Patent infringements|KEYWORD_PATENT_INFRINGEMENT
Trade secret infringements|KEYWORD_TRADE_SECRET_INFRINGEMENT
Trademark infringements|KEYWORD_TRADEMARK_INFRINGEMENT
Not captured by any other sub-category  |KEYWORD_OTHER
Negative effects on civic discourse or elections|STATEMENT_CATEGORY_NEGATIVE_EFFECTS_ON_CIVIC_DISCOURSE_OR_ELECTIONS
Misinformation, disinformation, foreign information manipulation and interference |KEYWORD_MISINFORMATION_DISINFORMATION
Violation of EU law relevant to civic discourse or elections |KEYWORD_VIOLATION_EU_LAW
Violation of national law relevant to civic discourse or elections |KEYWORD_VIOLATION_NATIONAL_LAW
Not captured by any other sub-category  |KEYWORD_OTHER
Protection of minors |STATEMENT_CATEGORY_PROTECTION_OF_MINORS
Age-specific restrictions concerning minors|KEYWORD_AGE_SPECIFIC_RESTRICTIONS_MINORS
Child sexual abuse material|KEYWORD_CHILD_SEXUAL_ABUSE_MATERIAL
Child sexual abuse material containing deepfake or similar technology|KEYWORD_CHILD_SEXUAL_ABUSE_MATERIAL_DEEPFAKE
Grooming/sexual enticement of minors |KEYWORD_GROOMING_SEXUAL_ENTICEMENT_MINORS
Unsafe challenges|KEYWORD_UNSAFE_CHALLENGES
Not captured by any other sub-category  |KEYWORD_OTHER
Risk for public security |STATEMENT_CATEGORY_RISK_FOR_PUBLIC_SECURITY
Illegal organizations|KEYWORD_ILLEGAL_ORGANIZATIONS
Risk for environmental damage|KEYWORD_RISK_ENVIRONMENTAL_DAMAGE
Risk for public health|KEYWORD_RISK_PUBLIC_HEALTH
Terrorist content|KEYWORD_TERRORIST_CONTENT
Not captured by any other sub-category  |KEYWORD_OTHER
Scams and/or fraud |STATEMENT_CATEGORY_SCAMS_AND_FRAUD
Impersonation or account hijacking|KEYWORD_IMPERSONATION_ACCOUNT_HIJACKING
Inauthentic accounts|KEYWORD_INAUTHENTIC_ACCOUNTS
Inauthentic listings|KEYWORD_INAUTHENTIC_LISTINGS
Inauthentic user reviews|KEYWORD_INAUTHENTIC_USER_REVIEWS
Phishing|KEYWORD_PHISHING
Pyramid schemes|KEYWORD_PYRAMID_SCHEMES
Not captured by any other sub-category  |KEYWORD_OTHER
Self-harm|STATEMENT_CATEGORY_SELF_HARM
Content promoting eating disorders|KEYWORD_CONTENT_PROMOTING_EATING_DISORDERS
Self-mutilation|KEYWORD_SELF_MUTILATION
Suicide|KEYWORD_SUICIDE
Not captured by any other sub-category  |KEYWORD_OTHER
Unsafe, non-compliant or prohibited products |STATEMENT_CATEGORY_UNSAFE_AND_PROHIBITED_PRODUCTS
Prohibited or restricted products|KEYWORD_PROHIBITED_PRODUCTS
Unsafe or non-compliant products|KEYWORD_UNSAFE_PRODUCTS
Not captured by any other sub-category  |KEYWORD_OTHER
Violence |STATEMENT_CATEGORY_VIOLENCE
Coordinated harm|KEYWORD_COORDINATED_HARM
General calls or incitement to violence and/or hatred|KEYWORD_INCITEMENT_VIOLENCE_HATRED
Human exploitation|KEYWORD_HUMAN_EXPLOITATION
Human trafficking|KEYWORD_HUMAN_TRAFFICKING
Trafficking in women and girls|KEYWORD_TRAFFICKING_WOMEN_GIRLS
Not captured by any other sub-category  |KEYWORD_OTHER
Other violation of provider\u2019s terms and conditions|STATEMENT_CATEGORY_OTHER_VIOLATION_TC
Adult sexual material|KEYWORD_ADULT_SEXUAL_MATERIAL
Age-specific restrictions|KEYWORD_AGE_SPECIFIC_RESTRICTIONS
Geographical requirements|KEYWORD_GEOGRAPHICAL_REQUIREMENTS
Goods/services not permitted to be offered on the platform|KEYWORD_GOODS_SERVICES_NOT_PERMITTED
Language requirements|KEYWORD_LANGUAGE_REQUIREMENTS
Nudity|KEYWORD_NUDITY
Not captured by any other sub-category  |KEYWORD_OTHER
Type of illegal content not specified by the public authority|STATEMENT_CATEGORY_NOT_SPECIFIED_ORDER
Type of alleged illegal content not specified by the notifier|STATEMENT_CATEGORY_NOT_SPECIFIED_NOTICE
"""  # noqa: E501 - as the Commission gives them
"""Descriptions and codes of categories, in order; sub-categories follow their category."""

TOTAL, MAIN, OTHER = "TOTAL", "STATEMENT_CATEGORY_", "KEYWORD_OTHER"
NO_ORDER_CATEGORY = f"{MAIN}NOT_SPECIFIED_ORDER"
NO_NOTICE_CATEGORY = f"{MAIN}NOT_SPECIFIED_NOTICE"
DEEPFAKE = "KEYWORD_CHILD_SEXUAL_ABUSE_MATERIAL_DEEPFAKE"
_OF_TERMS = f"{MAIN}OTHER_VIOLATION_TC"

NAMES = (
    "1_summary",
    "2_categories_names",
    "3_member_states_orders",
    "4_notices",
    "5_own_initiative_illegal",
    "6_own_initiative_TC",
    "7_appeals_and_recidivism",
    "8_automated_means",
    "9_human_resources",
    "10_AMAR",
    "11_qualitative",
)
"""Names of the parts, as the instructions call their sheets."""

ALL = "All"
HOSTING = "Only for providers of hosting services, including online platforms"
PLATFORMS = "Only for providers of online platforms"
VERY_LARGE = "Only for VLOPs"
APPLICABLE = (ALL, HOSTING)
"""The marks of rows that apply to a hosting service that is no online platform."""

_FIRST = ("Applicability", "Service")
_PERIOD = (*_FIRST, "Reporting period")
_CATEGORY, _DETAIL = "Category of illegal content", 'Description of the sub-category "Other"'
DETAIL = 'Text to detail the "Other" keyword.'
FREE_TEXT = "Free text"

SUMMARY_COLUMNS = (*_FIRST, "Indicator", "Value")
SUMMARY = (
    ("Name of the service provider", "Text"),
    ("Date of the publication of the report", "YYYY-MM-DD"),
    ("Date of the publication of the latest previous report", "YYYY-MM-DD"),
    ("Starting date of reporting period", "YYYY-MM-DD"),
    ("Ending date of reporting period", "YYYY-MM-DD"),
)
"""Indicators, and what the templates have in place of their values."""

CATEGORIES_COLUMNS = (
    "Category label",
    "Category description",
    "Category of illegal content / incompatible with the terms and conditions",
    "Contextual information",
)

_ACT, _INFORM = "the order to act against illegal content", "the order to provide information"
ORDERS_FIGURES = (
    "Number of orders to act against illegal content received",
    "Number of specific items of information included in the total number of orders to act against illegal "
    "content",
    f"Median time to inform the authority of the receipt of {_ACT}",
    f"Median time to give effect to {_ACT}",
    "Number of orders to provide information",
    f"Median time to inform the authority of the receipt of {_INFORM}",
    f"Median time to give effect to {_INFORM}",
)
ORDERS_COLUMNS = (
    *(*_PERIOD, _CATEGORY, _DETAIL, "Scope"),
    *ORDERS_FIGURES,
    *(
        f"Contextual information on {name if at > 1 else name[0].lower() + name[1:]}"
        for at, name in enumerate(ORDERS_FIGURES)
    ),
)

_FLAGGERS = " (Trusted Flagger notices)"
_ITEMS = "Number of specific items of information included in the total number of notices"
_LAW = "Number of actions taken on the basis of the law"
_TERMS = "Number of actions taken on the basis of the terms and conditions of the service"
NOTICES_FIGURES = (
    "Number of notices received ",
    "Number of notices received from Trusted flaggers",
    _ITEMS,
    f"{_ITEMS} by Trusted Flaggers{_FLAGGERS}",
    *(f"{name}{of}" for name, of in product(("Median time to take action", _LAW, _TERMS), ("", _FLAGGERS))),
)
NOTICES_COLUMNS = (
    *(*_PERIOD, _CATEGORY, _DETAIL),
    *NOTICES_FIGURES,
    *(f"Contextual information on {name}" for name in NOTICES_FIGURES),
)

MEASURES_FIGURES = (
    "Number of measures taken at the provider's own initiative ",
    "Number of measures taken after detection with solely automated means ",
    "Visibility restriction Removal",
    "Visibility restriction Disable",
    "Visibility restriction Demoted",
    "Visibility restriction Age restricted",
    "Visibility restriction Interaction restricted",
    "Visibility restriction Labelled ",
    "Visibility restriction Other",
    *(f"Monetary restriction {what}" for what in ("Suspension", "Termination", "Other")),
    *(
        f"{what} {how}"
        for what, how in product(
            ("Provision of the service", "Account restriction"), ("Suspension", "Termination")
        )
    ),
)


def _measures_columns(category: str) -> tuple[str, ...]:
    context = (f"Contextual Information on {name}" for name in MEASURES_FIGURES)
    return (*_PERIOD, category, _DETAIL, *MEASURES_FIGURES, *context)


ILLEGAL_COLUMNS = _measures_columns(_CATEGORY)
TERMS_COLUMNS = _measures_columns("Category of incompatibility with the provider's terms and conditions")

_VALUE = (*_PERIOD, "Section", "Indicator", "Scope", "Value")
APPEALS_COLUMNS = (*_VALUE, "Contextual Information")
HUMANS_COLUMNS = (*_VALUE, "Contextual information")
RECIPIENTS_COLUMNS = _VALUE
QUALITATIVE_COLUMNS = (*_PERIOD, "Indicator", "Value")

_NUMBER, _MEDIAN = "Total number", "Median time"
_DECISIONS = ("Decisions upheld", "Decisions partially reversed", "Decisions reversed", _MEDIAN)
_NO_ACTION = "not to take action on a notice submitted"
_COMPLAINTS = "Number of complaints submitted to the internal-complaints mechanism"
_COMPLAINT_KINDS = (
    "to remove or disable access to or restrict visibility of information",
    "to suspend or terminate the provision of the service",
    "to suspend or terminate an account ",
    "to restrict the ability to monetise information",
    f"{_NO_ACTION} in accordance with Article 16",
    f"{_NO_ACTION} by a Trusted Flagger in accordance with Article 16",
)
Labels = tuple[str, ...]
"""Applicability, and the labels from the column after the period."""


def appeals() -> Iterator[Labels]:
    """Yield the rows of part 7."""

    def rows(section: str, indicator: str, *scopes: str) -> Iterator[Labels]:
        for scope in (_NUMBER, *scopes):
            mark = ALL if (indicator, scope) == (_COMPLAINTS, _NUMBER) else PLATFORMS
            yield mark, section, indicator, scope

    inside, outside = "Internal complaints mechanism", "Out-of-court dispute settlement bodies"
    yield from rows(inside, _COMPLAINTS, *_DECISIONS, "Decision omitted")
    yield from rows(inside, "Number of restrictions newly imposed as a result of an internal complaint")
    for kind in _COMPLAINT_KINDS:
        yield from rows(inside, f"Complaint regarding a decision {kind}", *_DECISIONS)
    disputes = "Number of disputes submitted to out-of-court dispute settlement bodies"
    yield from rows(outside, disputes, *_DECISIONS, "Decision omitted", "Percentage of outcomes implemented")
    for what in ("illegal content ", "unfounded notices", "unfounded complaints"):
        name = f"Number of suspensions enacted for the provision of manifestly {what}"
        yield from rows("Suspensions imposed on repeated offenders", name)


AUTOMATED = "Number of measures solely taken by automated means "
NOT_AUTOMATED = "Number of measures not taken by automated means"
NOTICES_AUTOMATED = "Number of notices solely processed by automated means "
NOTICES_NOT_AUTOMATED = "Number of notices not processed by automated means"
ACCURACY, PRECISION, RECALL = (
    f"Accuracy of the automated means - {name}" for name in ("Accuracy", "Precision", "Recall")
)
IN_ALL, OWN, BY_NOTICE = _NUMBER, "Own-initiative ", "NAM Total"
_LANGUAGES = ("bg", "[...]", "sv")


def automated_means() -> Iterator[Labels]:
    """Yield the rows of part 8."""
    section = "Use of automated means for content moderation"
    rates = (ACCURACY, PRECISION, RECALL)
    measures, notices = (AUTOMATED, NOT_AUTOMATED), (NOTICES_AUTOMATED, NOTICES_NOT_AUTOMATED)
    for mark, scope, counts in (
        (ALL, IN_ALL, measures),
        (ALL, OWN, measures),
        (HOSTING, BY_NOTICE, notices),
        (PLATFORMS, "NAM Trusted Flagger", notices),
    ):
        for indicator in (*counts, *rates):
            yield mark, section, indicator, scope
    for indicator, language in product(measures, _LANGUAGES):
        yield VERY_LARGE, section, indicator, language
    for indicator, language in 3 * tuple(zip(rates, _LANGUAGES, strict=True)):
        yield VERY_LARGE, section, indicator, language


def human_resources() -> Iterator[Labels]:
    """Yield the rows of part 9."""
    section = "Human resources dedicated to content moderation "
    experts = "Number of total moderators with sufficient linguistic expertise "
    yield VERY_LARGE, section, "Number of internal moderators employed by the provider", _NUMBER
    yield VERY_LARGE, section, "Number of external moderators contracted by the provider", _NUMBER
    for scope in (_NUMBER, *_LANGUAGES):
        yield VERY_LARGE, section, experts, scope


def recipients() -> Iterator[Labels]:
    """Yield the rows of part 10."""
    indicator = "Number of average monthly active recipients during the reporting period\xa0"
    for scope in (TOTAL, "AT", "[...]", "SE"):
        yield f"{VERY_LARGE} and VLOSEs", "AMAR", indicator, scope


_STAFF = "human resources dedicated to content moderation"
QUALITATIVE: tuple[Labels, ...] = (
    (ALL, "Summary of the content moderation engaged in at the providers\u2019 own initiative"),
    (
        ALL,
        "Meaningful and comprehensible information regarding content moderation engaged in at the "
        "providers' own initiative",
    ),
    (ALL, "Qualitative description of the automated means"),
    (
        ALL,
        "Qualitative description of indicators of accuracy and possible rate of error of automated means",
    ),
    (ALL, "Specification of the precise purposes to apply automated means"),
    (ALL, "Safeguards applied to the use of automated means"),
    (VERY_LARGE, "High-level description of the content moderation governance structure"),
    (VERY_LARGE, f"Qualifications of the {_STAFF}"),
    (VERY_LARGE, f"Training given to {_STAFF}"),
    (VERY_LARGE, f"Support given to {_STAFF} "),
    (VERY_LARGE, f"Methodology used to compute the number of {_STAFF}\xa0\xa0"),
)


def category_rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield label, description, code and context of the rows of part 2."""
    yield TOTAL, "All the entries", TOTAL, ""
    number, letter = 0, 0
    for line in _CATEGORIES.splitlines():
        description, code = line.split("|")
        main = code.startswith(MAIN)
        number, letter = (number + 1, 0) if main else (number, letter + 1)
        # A space where the others have nothing.
        context = " " if code.endswith("VIOLENCE_AGAINST_WOMEN") and main else ""
        label = f"Category {number}" + (chr(ord("a") + letter - 1) if letter else "")
        yield label, description, code, context


def codes(*, terms: bool = False, last: str = "") -> Sequence[str]:
    """Return the codes of the rows of parts 3 to 6, in order.

    Args:
        terms: with those of the provider's terms and conditions alone.
        last: code of content that nobody has named the kind of.
    """
    every = [code for _, _, code, _ in category_rows() if code not in {NO_ORDER_CATEGORY, NO_NOTICE_CATEGORY}]
    if not terms:
        every = every[: every.index(_OF_TERMS)]
    return [*every, last] if last else every


def state_codes() -> Sequence[str]:
    """Return the codes of the rows of a Member State in part 3; the template leaves one out there."""
    return [code for code in codes(last=NO_ORDER_CATEGORY) if code != DEEPFAKE]


def csv_text(rows: Iterable[Sequence[str]]) -> str:
    """Return CSV in the form of the templates."""
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
