from .cooccurrences import cooccurrence as cooccurrence
from .explanation import Explanation as Explanation
from .explanation import explain as explain
from .lexicon import Lexicon as Lexicon
from .state_cosines import MAX_TEXTS as MAX_TEXTS
from .state_cosines import anisotropy as anisotropy
