from .plan import Folders as Folders
from .plan import open_tables as open_tables
from .steps import reproduce as reproduce
