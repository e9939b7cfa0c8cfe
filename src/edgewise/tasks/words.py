"""Words that fill the slots of the generated tasks, written for this project.

Names are common English first names used for one gender and not as another everyday word.
Objects are countable, begin with a consonant sound (the frames say "a") and can be handed over.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgewise.errors import TokenizerError
from edgewise.tasks.encoder import Encoder

PLENTY = 20  # so many one-token words are enough to leave longer ones out


def alike(
    encoder: Encoder, lists: Sequence[Sequence[str]], needed: int, what: str
) -> list[tuple[str, ...]]:
    """From each list, the words that all have one and the same number of tokens after a space.

    Prompts then align when such a word takes another's place. One token if every list has PLENTY
    of these, else the number of tokens that leaves most words in the shortest list. Words are
    told apart by their first token, where the logit difference is read: a word that shares it
    with an earlier one is left out, as is one with an unknown token.
    Raises TokenizerError if any list keeps fewer than `needed` words.
    """
    by_length: dict[int, list[dict[int, str]]] = {}
    unknown = encoder.tokenizer.unk_token_id
    for i, words in enumerate(lists):
        for word in words:
            tokens = encoder.word(" " + word)
            taken = by_length.setdefault(len(tokens), [{} for _ in lists])
            if unknown not in tokens and not any(tokens[0] in firsts for firsts in taken):
                taken[i][tokens[0]] = word

    def fewest(length: int) -> int:
        return min(len(words) for words in by_length[length])

    best = 1 if 1 in by_length and fewest(1) >= PLENTY else max(by_length, key=fewest)
    if fewest(best) < needed:
        found = ", ".join(
            f"{' and '.join(str(len(words)) for words in by_length[length])} of {length} token(s)"
            for length in sorted(by_length)
        )
        raise TokenizerError(
            f"this task needs at least {needed} {what} of equally many tokens, each with a first "
            f"token of its own, so that prompts align; with this tokenizer there are {found}. "
            "Use a tokenizer that knows common English words, or write the prompts as JSONL "
            "(Task.from_jsonl)."
        )
    return [tuple(words.values()) for words in by_length[best]]


FEMALE: tuple[str, ...] = tuple(
    """
    Alice Amanda Amy Andrea Angela Anna Barbara Beth Betty Brenda Carol Caroline Catherine
    Charlotte Christina Christine Claire Claudia Clara Cynthia Deborah Diana Diane Donna Dorothy
    Elena Elizabeth Ellen Emily Emma Esther Eva Evelyn Fiona Frances Hannah Heather Helen
    Irene Jane Janet Jennifer Jessica Joan Joanna Judith Julia Julie Karen Kate Katherine Kathleen
    Katie Kelly Kim Laura Lauren Linda Lisa Louise Lucy Lydia Margaret Maria Marie Martha
    Mary Megan Melissa Michelle Molly Monica Nancy Naomi Natalie Nicole Nina Nora Olivia Pamela
    Patricia Rachel Rebecca Rita Rosa Ruth Samantha Sandra Sarah Sharon Sophia Sophie
    Stephanie Susan Tara Teresa Tina Valerie Vanessa Victoria Wendy
    """.split()
)
MALE: tuple[str, ...] = tuple(
    """
    Aaron Adam Alan Albert Alexander Andrew Anthony Arthur Benjamin Brandon Brian Bruce Bryan
    Carl Charles Christopher Colin Craig Daniel David Dennis Donald Douglas Edward Edwin Eric
    Ernest Evan Frederick Gary George Gerald Gordon Graham Greg Gregory Harold Harry Henry Howard
    Hugh Ian Isaac Jack Jacob James Jason Jeffrey Jeremy Jerry Jim Joel John Jonathan Joseph
    Joshua Justin Keith Kenneth Kevin Kyle Larry Lawrence Leonard Louis Luke Marcus Martin
    Matthew Michael Mike Nathan Neil Nicholas Oliver Oscar Patrick Paul Peter Philip Ralph
    Raymond Richard Robert Roger Ronald Ross Roy Russell Ryan Samuel Scott Sean Simon
    Stanley Stephen Steve Steven Stuart Thomas Timothy Todd Tom Tony Victor Vincent Walter Wayne
    William Zachary
    """.split()
)
NAMES = FEMALE + MALE

PLACES: tuple[str, ...] = tuple(
    """
    airport bakery bank beach church cinema farm garden gym harbor hospital house
    library market museum office park pharmacy restaurant school stadium station store theater
    village zoo
    """.split()
)
OBJECTS: tuple[str, ...] = tuple(
    """
    ball basket blanket book bottle box camera coat coin computer cup drink flower gift glass
    guitar hat jacket knife lamp letter map necklace newspaper notebook pen pencil phone
    photo picture ring shirt snack ticket toy watch
    """.split()
)
