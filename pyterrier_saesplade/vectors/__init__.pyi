from .arrow import DESCRIPTION as DESCRIPTION
from .arrow import from_arrow as from_arrow
from .arrow import to_arrow as to_arrow
from .arrow import vector_schema as vector_schema
from .exhaustive import top_documents as top_documents
from .postings import Postings as Postings
from .postings import create_array as create_array
from .sparse import ConceptVectors as ConceptVectors
