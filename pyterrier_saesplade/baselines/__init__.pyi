from .colbert import ColbertModel as ColbertModel
from .colbert import ColbertQueryEncoder as ColbertQueryEncoder
from .colbert import ColbertScorer as ColbertScorer
from .late_interaction import LateInteraction as LateInteraction
from .plaid import PlaidIndex as PlaidIndex
from .plaid import PlaidIndexer as PlaidIndexer
from .plaid import PlaidRetriever as PlaidRetriever
