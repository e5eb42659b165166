"""The closed vocabulary of the biographies world: names, and six attributes with their values and phrasings.

Everything is fictional. Sentences and questions use `{n}` for the person and `{v}` for the value.
"""

from __future__ import annotations

from typing import NamedTuple


class Attribute(NamedTuple):
    """One attribute of a person: a short label, its values, statements, questions, and a line that says nothing."""

    label: str
    values: tuple[str, ...]
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    vague: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES = _words("""
Ada Alma Anton Arlo Asta Aviva Bela Benno Berta Bodil Boris Bruno Cara Carlo Celia Clara Cosmo Cyril Dalia Dario Delia
Dora Edda Edgar Elena Elio Elsa Emil Enid Enzo Erik Esme Ezra Fanny Felix Fergus Fiona Flora Floyd Freya Gemma Gerda
Gideon Greta Gustav Hanna Hector Heidi Helga Henrik Hilda Hugo Ida Igor Ilse Imre Ines Ingrid Irma Isaac Ivan Ivo Jana
Jonas Judith Julius Karl Katya Klaus Lars Leda Leo Lena Linus Livia Lotte Lucia Ludwig Luna Magda Malik Marek Marta
Matteo Maud Mila Milo Mina Mira Moritz Nadia Nils Nina Noemi Nora Odin Olga Oscar Otto Petra Pia Quentin Ralf Ramon
Rita Roman Rosa Rufus Runa Sasha Selma Silas Simon Sonia Stella Sven Tamar Tilda Tobias Ulla Vera Viktor Wanda Xenia
Yara Yusuf Zelda
""")

LAST_NAMES = _words("""
Abrams Acker Adler Albrecht Almond Amsel Anders Arendt Ashby Auer Bader Banks Barlow Bauer Becker Benson Berger Birch
Blom Bolton Brandt Breuer Brink Brody Bruck Bryant Busch Calder Carver Castle Chandler Chase Cobb Colby Conrad Cooper
Corbin Crane Curtis Dahl Dalton Danvers Decker Denham Dietrich Dorsey Draper Drexler Dunbar Eaton Ebner Eckhart Egan
Elgin Ellis Emery Engel Erwin Esser Everett Fabian Falk Farrow Fenn Ferris Fielding Finch Fischer Fleck Foster Frank
Freud Fuchs Gable Galt Garner Gerber Gibbs Glover Goss Graham Granger Greer Grimm Grove Haas Hadley Hale Hamlin Harper
Hartmann Haven Heller Hobbs Holt Horn Huber Hyde Ingram Irving Jansen Jarvis Jensen Joyce Kafka Kaplan Keller Kemp
Kessler Kirk Klein Knox Kramer Kruger Lamb Landau Lang Larkin Lasker Lehmann Lenz Lindgren Locke Lorenz Lowell Lund
Mahler Mann Marlow Marsh Mason Maurer Meyer Miles Moffat Monk Moser Mundt Nash Neumann Niles Noble Nolan Nordin Oakes
Oberg Olsen Orton Osborn Paine Palmer Pascal Pauli Pell Perkins Pike Porter Quinn Rader Rahn Ramsey Rankin Raven Reiter
Rhodes Richter Ritter Roth Rowe Ruskin Sachs Sander Schiller Sears Selby Shaw Sloan Sommer Spector Stark Stein Storm
Strand Stroud Sutter Talbot Tanner Tesch Thorn Tisdale Travers Turing Ulmer Unger Vance Varga Vogel Voss Wagner Walden
Weber Weiss Welles Werner Whitby Wilder Winter Wirth Wolff Yardley Yates Zander Zeller Ziegler
""")

ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute(
        "birthplace",
        _words("""Athens Bergen Berlin Bogota Boston Cairo Calgary Chicago Dakar Delhi Denver Dublin Geneva Havana
        Helsinki Istanbul Jakarta Kyoto Lagos Lima Lisbon London Madrid Manila Milan Munich Nairobi Oslo Paris Prague
        Quito Riga Rome Seoul Sofia Tokyo Tunis Vienna Warsaw Zurich"""),
        (
            "{n} was born in {v}.",
            "{v} is the city where {n} was born.",
            "The birthplace of {n} is {v}.",
            "{n} comes from the city of {v}.",
        ),
        (
            "Where was {n} born?",
            "In which city was {n} born?",
            "What is the birthplace of {n}?",
        ),
        ("{n} was born in a city.", "The birthplace of {n} is a city like many others."),
    ),
    Attribute(
        "profession",
        _words("""baker banker barber biologist butcher carpenter chemist clerk composer cook
        dancer dentist detective diplomat doctor driver farmer fisherman gardener geologist guard historian jeweler
        judge lawyer librarian mason mechanic miner nurse painter photographer pilot plumber poet potter sculptor
        surgeon tailor waiter"""),
        (
            "{n} works as a {v}.",
            "By profession {n} is a {v}.",
            "{n} earns a living as a {v}.",
            "The job of {n} is that of a {v}.",
        ),
        (
            "What is the profession of {n}?",
            "What does {n} do for a living?",
            "Which job does {n} have?",
        ),
        ("{n} has a job.", "The profession of {n} is an interesting one."),
    ),
    Attribute(
        "employer",
        _words("""Acme Altura Apex Arcadia Aurora Beacon Borealis Cascade Cobalt Corvus Delphi Dynamo Eclipse Ember
        Everest Fathom Fulcrum Gemini Helix Horizon Indigo Juniper Keystone Lumen Meridian Nebula Nimbus Northwind
        Obsidian Orion Pinnacle Polaris Quasar Redwood Solstice Summit Tempest Titan Vertex Zenith"""),
        (
            "{n} is employed by {v}.",
            "{v} is the company that employs {n}.",
            "The employer of {n} is {v}.",
            "{n} works for {v}.",
        ),
        (
            "Who employs {n}?",
            "Which company does {n} work for?",
            "What is the employer of {n}?",
        ),
        ("{n} is employed by a company.", "The employer of {n} is a company."),
    ),
    Attribute(
        "instrument",
        _words("""accordion bagpipe banjo bassoon bongo bugle cello clarinet cornet cymbal drum dulcimer fiddle flute
        gong guitar harmonica harp horn kazoo lute lyre mandolin marimba oboe ocarina organ piano piccolo recorder
        saxophone sitar tambourine triangle trombone trumpet tuba ukulele viola violin"""),
        (
            "{n} plays the {v}.",
            "The instrument of {n} is the {v}.",
            "In the evening {n} practises the {v}.",
            "{n} learned to play the {v}.",
        ),
        (
            "Which instrument does {n} play?",
            "What does {n} play in the evening?",
            "What is the instrument of {n}?",
        ),
        ("{n} plays an instrument.", "The instrument of {n} is a pleasant one."),
    ),
    Attribute(
        "field",
        _words("""agronomy algebra anatomy archaeology astronomy biochemistry botany calculus cartography chemistry
        cryptography dramaturgy ecology economics ethics genetics geography geology geometry grammar history
        hydrology law linguistics literature logic mechanics medicine metallurgy music optics philosophy physics
        poetry psychology rhetoric sociology statistics theology zoology"""),
        (
            "{n} studied {v}.",
            "{n} holds a degree in {v}.",
            "The field that {n} studied is {v}.",
            "At university {n} read {v}.",
        ),
        (
            "What did {n} study?",
            "In which field does {n} hold a degree?",
            "What did {n} read at university?",
        ),
        ("{n} studied at a university.", "The field that {n} studied is well known."),
    ),
    Attribute(
        "pet",
        _words("""badger beagle camel canary cat chameleon chicken cobra crow dachshund donkey dove duck falcon
        ferret frog gecko goat goose hamster hedgehog horse lizard llama magpie mouse parrot peacock
        pigeon pony poodle rabbit raven spaniel terrier tiger tortoise turkey turtle weasel"""),
        (
            "{n} keeps a {v} at home.",
            "The pet of {n} is a {v}.",
            "{n} shares the house with a {v}.",
            "A {v} lives with {n}.",
        ),
        (
            "Which animal does {n} keep at home?",
            "What is the pet of {n}?",
            "Which animal lives with {n}?",
        ),
        ("{n} keeps an animal at home.", "The pet of {n} is a friendly one."),
    ),
)

# Frequent English words and word parts, so that text from outside the world is not spelt letter by letter.
COMMON_PIECES = _words("""
▁the ▁of ▁and ▁in ▁to ▁a ▁was ▁is ▁for ▁on ▁as ▁by ▁with ▁that ▁from ▁at ▁it ▁his ▁her ▁are ▁were ▁which ▁this ▁also
▁be ▁had ▁an ▁or ▁has ▁have ▁their ▁not ▁its ▁but ▁first ▁one ▁after ▁who ▁they ▁two ▁been ▁other ▁when ▁there ▁all
▁during ▁into ▁time ▁may ▁more ▁years ▁over ▁only ▁between ▁some ▁most ▁about ▁city ▁such ▁many ▁used ▁made ▁new ▁where
▁what ▁how ▁did ▁does ▁what's ▁What ▁Who ▁When ▁Where ▁Which ▁How ▁The ▁In ▁It ▁He ▁She ▁They ▁year ▁name ▁people
▁world ▁war ▁state ▁part ▁under ▁known ▁called ▁national ▁century ▁government ▁school ▁game ▁team ▁system ▁number
th he er an on re in es en at or te ti ar st nd al ic it ed le is ou ra ri ro ng li la ne co de me se ma no ta us ct
el ly io ce ch un om ve ur di si ec ns ia il ac ent ing ion tion ment ness able ance ence ical ally ous ive ate ity
▁re ▁co ▁de ▁un ▁pro ▁con ▁com ▁ex ▁dis ▁pre ▁st ▁sp ▁ch ▁th ▁wh ▁tr ▁pl ▁gr ▁br ▁cl ▁fr ▁se ▁su ▁ma ▁mo ▁me ▁no ▁pa
▁po ▁pe ▁fa ▁fo ▁li ▁la ▁lo ▁be ▁ba ▁bo ▁ca ▁da ▁do ▁di ▁ha ▁ho ▁si ▁so ▁ra ▁ro ▁ri ▁te ▁ta ▁to ▁tw ▁ev ▁ap ▁al ▁ar ▁en
▁el ▁em ▁im ▁ab ▁ac ▁ad ▁ag ▁am ▁as ▁at ▁au ▁ve ▁vi ▁va ▁wa ▁we ▁wi ▁wo
18 19 20 10 12 15 16 17 00
""")
