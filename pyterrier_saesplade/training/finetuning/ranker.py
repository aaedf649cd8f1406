"""The model with its losses, which computes the loss of a batch of queries and passages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.utils.checkpoint import checkpoint

from pyterrier_saesplade.model import Pooled, SaeSpladeModel
from pyterrier_saesplade.training.finetuning.losses import (
    contrastive,
    flops,
    kl_divergence,
    margin_mse,
    quadratic_warmup,
)
from pyterrier_saesplade.training.finetuning.scoring import score
from pyterrier_saesplade.training.pretraining import decode

if TYPE_CHECKING:
    from pyterrier_saesplade.training.config import FinetuneConfig

#: A latent is dead after this many passages in a row in which it was not active.
DEAD_AFTER = 5000

Group = dict[str, Any]


class RankingOutput(NamedTuple):
    """The loss and the measures of one batch; all scalars.

    The losses are not multiplied by their weights. The ranking losses and the reconstruction error are 0 if their
    weight is 0.

    Attributes:
        loss: The weighted sum of the losses.
        kl: The KL divergence from the teacher.
        margin_mse: The squared error of the teacher's margins.
        contrastive: InfoNCE.
        doc_flops: The FLOPS penalty of the passages.
        query_flops: The FLOPS penalty of the queries.
        reconstruction: The squared error of the SAE's reconstruction, averaged over tokens.
        l0_doc: Mean number of active latents per passage.
        l0_query: Mean number of active latents per query.
        spread: Standard deviation of the scores of a query's own passages, averaged over queries.
        dead: Share of the latents that are dead.
        alpha: The factor that scales all weights.
    """

    loss: Tensor
    kl: Tensor
    margin_mse: Tensor
    contrastive: Tensor
    doc_flops: Tensor
    query_flops: Tensor
    reconstruction: Tensor
    l0_doc: Tensor
    l0_query: Tensor
    spread: Tensor
    dead: Tensor
    alpha: Tensor


class Ranker(nn.Module):
    """A model with the losses of fine-tuning (paper, section 3.3).

    Vectors stay sparse. Apart from the head's weights, the memory of a step does not grow with the width of the
    vocabulary.

    Args:
        model: The network, trained in place.
        settings: The resolved settings of the run. The settings of the losses and ``gradient_checkpointing`` are used.
        dtype: Number format in which the strongest latents are searched.
    """

    step: Tensor
    unused: Tensor

    def __init__(self, model: SaeSpladeModel, settings: FinetuneConfig, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.dtype = dtype
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.register_buffer("unused", torch.zeros(model.config.width, dtype=torch.long))

    def forward(
        self, queries: list[Group], documents: list[Group], ignored: Tensor, teacher: Tensor | None = None
    ) -> RankingOutput:
        """Computes the loss of a batch.

        Args:
            queries: Groups of queries. Each has ``texts`` ``[b]``, the queries' numbers in the batch; ``bounds``, a
                list of ``b + 1`` numbers, at which each query's tokens begin and the last one's end; and either
                ``input_ids`` and ``attention_mask`` ``[b, L]``, or the tokens' ``states`` ``[T, d]``. A query without
                word pieces is not in any group.
            documents: Groups of passages. The first ``N / B`` passages belong to query 0, and so on; the first passage
                of each query is its positive.
            ignored: ``[B, N]``, passages that must not be used as negatives of a query.
            teacher: ``[B, N / B]``, the teacher's scores of each query's own passages.
        """
        n_queries, n_documents = ignored.shape
        of_queries, of_query_tokens = self._vectors(queries)
        of_documents, of_document_tokens = self._vectors(documents)
        if self.training:
            self._count(of_documents, n_documents)
        width = self.model.config.width
        scores = score(self.model.weigh(of_queries), of_documents, n_queries, n_documents, width)
        blocks = _blocks(scores)
        own = scores.gather(1, blocks)
        zero = scores.new_zeros(())
        settings = self.settings
        kl = kl_divergence(own, teacher) if settings.kl_weight and teacher is not None else zero
        mse = margin_mse(own, teacher) if settings.margin_mse_weight and teacher is not None else zero
        nce = zero
        if settings.contrastive_weight:
            if settings.in_batch_negatives:
                nce = contrastive(scores, blocks[:, 0], ignored)
            else:
                nce = contrastive(own, torch.zeros_like(blocks[:, 0]), ignored.gather(1, blocks))
        doc_flops = flops(of_documents, n_documents, width)
        query_flops = flops(of_queries, n_queries, width)
        warm = quadratic_warmup(self.step, settings.flops_warmup_steps)
        errors = torch.cat([of_query_tokens, of_document_tokens])
        reconstruction = errors.mean() if len(errors) else zero
        loss = (
            settings.kl_weight * kl
            + settings.margin_mse_weight * mse
            + (settings.contrastive_weight or 0.0) * nce
            + warm * (settings.doc_flops * doc_flops + settings.query_flops * query_flops)
            + settings.reconstruction_weight * reconstruction
        )
        return RankingOutput(
            loss=loss,
            kl=kl.detach(),
            margin_mse=mse.detach(),
            contrastive=nce.detach(),
            doc_flops=doc_flops.detach(),
            query_flops=query_flops.detach(),
            reconstruction=reconstruction.detach(),
            l0_doc=zero + len(of_documents.values) / n_documents,
            l0_query=zero + len(of_queries.values) / n_queries,
            spread=spread(own.detach()),
            dead=(self.unused >= DEAD_AFTER).float().mean(),
            alpha=self.model.alpha.detach(),
        )

    @torch.no_grad()
    def spread(self, queries: list[Group], documents: list[Group], ignored: Tensor) -> float:
        """Returns :func:`spread` of the scores of the queries' own passages, for a batch of this process."""
        of_queries, of_documents = self._vectors(queries)[0], self._vectors(documents)[0]
        n_queries, n_documents = ignored.shape
        scores = score(self.model.weigh(of_queries), of_documents, n_queries, n_documents, self.model.config.width)
        return float(spread(scores.gather(1, _blocks(scores))))

    def _vectors(self, groups: list[Group]) -> tuple[Pooled, Tensor]:
        """Encodes groups of texts; returns their vectors, sorted by text, and the tokens' reconstruction errors.

        Query weights are not applied yet. The cost of search depends on which latents are active, so the FLOPS penalty
        must see frequent latents at full weight, and query weights would reduce them.
        """
        # Keeps torch.cat valid if every text of the batch is empty.
        no_latent, no_value = self.unused.new_empty(0), self.model.alpha.new_empty(0)
        parts = [(no_latent, no_latent, no_value, no_latent, no_value)]
        for group in groups:
            if self.settings.gradient_checkpointing and torch.is_grad_enabled():
                # Only one group's activations are in memory, but the loss is still that of the whole batch.
                parts.append(checkpoint(self._encode, group, use_reentrant=False))
            else:
                parts.append(self._encode(group))
        texts, latents, values, tokens, errors = (torch.cat(column) for column in zip(*parts, strict=True))
        order = texts.sort(stable=True).indices
        return Pooled(texts[order], latents[order], values[order], tokens[order]), errors

    def _encode(self, group: Group) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        if "states" in group:
            states = group["states"]
        else:
            states = self.model.token_states(group["input_ids"], group["attention_mask"])
        pooled = self.model.pool(states, group["bounds"], self.model.config.k, dtype=self.dtype)
        error = self._errors(states) if self.settings.reconstruction_weight else states.new_zeros(0)
        return group["texts"][pooled.texts], pooled.latents, pooled.values, pooled.tokens, error

    def _errors(self, states: Tensor) -> Tensor:
        """Returns the squared error ``[T]`` of the SAE's reconstruction of each token."""
        head = self.model.head
        values, latents = head(states, self.model.config.k_sae, dtype=self.dtype)
        return (states - head.b_dec - decode(values, latents, head.dictionary)).square().sum(1)

    @torch.no_grad()
    def _count(self, documents: Pooled, n_documents: int) -> None:
        """Counts the step, and the passages since each latent was last active, over all processes."""
        processes = distributed.get_world_size() if distributed.is_initialized() else 1
        self.step += 1
        self.unused += n_documents * processes
        self.unused[documents.latents] = 0
        if processes > 1:
            distributed.all_reduce(self.unused, distributed.ReduceOp.MIN)


def spread(scores: Tensor) -> Tensor:
    """Returns the standard deviation of each query's scores, averaged over the queries of ``[B, n]`` scores."""
    return scores.std(1, correction=0).mean()


def _blocks(scores: Tensor) -> Tensor:
    """Returns the columns ``[B, n]`` of each query's own passages."""
    return torch.arange(scores.shape[1], device=scores.device).view(len(scores), -1)
