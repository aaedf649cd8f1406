from .autoencoder import decode as decode
from .pretrain import pretrain as pretrain
