from .artifact import ConceptStore as ConceptStore
from .encode import encode_corpus as encode_corpus
from .queries import encode_topics as encode_topics
from .queries import read_queries as read_queries
from .reader import STORE_TYPE as STORE_TYPE
from .reader import StoredVectors as StoredVectors
from .write import WINDOW_DOCUMENTS as WINDOW_DOCUMENTS
from .write import write_store as write_store
