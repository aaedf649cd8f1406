"""The model as it is fine-tuned: a batch of queries and passages in, a loss out."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.utils.checkpoint import checkpoint

from pyterrier_saesplade.model import Pooled, SaeSpladeModel
from pyterrier_saesplade.training.config import FinetuneConfig
from pyterrier_saesplade.training.finetuning.losses import (
    contrastive,
    flops,
    kl_divergence,
    margin_mse,
    quadratic_warmup,
)
from pyterrier_saesplade.training.finetuning.scoring import score
from pyterrier_saesplade.training.pretraining import decode

#: A latent is dead once so many passages in a row have not had it.
DEAD_AFTER = 5000

Group = dict[str, Any]


class RankingOutput(NamedTuple):
    """What one batch gives; all scalars.

    Attributes:
        loss: The weighted sum of the losses.
        kl: The divergence from the teacher; like each that follows 0 where its weight is.
        margin_mse: The error of the margins.
        contrastive: InfoNCE.
        doc_flops: The FLOPS penalty of the passages, without its weight.
        query_flops: That of the queries.
        reconstruction: Mean over tokens of the SAE's squared error.
        l0_doc: Mean number of latents of a passage.
        l0_query: The same of a query.
        spread: Mean over queries of the standard deviation of the scores of their own passages.
        dead: Share of the latents that are dead.
        alpha: The factor of all weights.
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

    Vectors stay sparse: a step's memory does not grow with the width of the vocabulary, but for the head's weights.

    Args:
        model: The network, trained in place.
        settings: Those of the run, of which those of the losses and ``gradient_checkpointing`` matter here; resolved.
        dtype: The type in which latents are searched.
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
            queries: Groups of queries: ``texts`` ``[b]``, their numbers in the batch; ``bounds``, a list of ``b + 1``
                numbers, where the tokens of each begin; and ``input_ids`` with ``attention_mask`` ``[b, L]``, or the
                ``states`` ``[T, d]`` of the tokens. A query without word pieces is in none.
            documents: The same of the passages, the first ``N / B`` of which are those of query 0, and so on; the first
                of each is its positive.
            ignored: ``[B, N]``, passages that are no negatives of a query.
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
        """Returns how much the scores of a query's own passages differ, of a batch in this process."""
        of_queries, of_documents = self._vectors(queries)[0], self._vectors(documents)[0]
        n_queries, n_documents = ignored.shape
        scores = score(self.model.weigh(of_queries), of_documents, n_queries, n_documents, self.model.config.width)
        return float(spread(scores.gather(1, _blocks(scores))))

    def _vectors(self, groups: list[Group]) -> tuple[Pooled, Tensor]:
        """Encodes groups of texts; returns their vectors by text, and the errors of reconstruction of their tokens.

        Those of queries are not weighed yet: what search costs depends on which latents are active, and the FLOPS
        penalty is to see the frequent ones, of which query weights make little.
        """
        # Of a batch whose texts are all empty nothing but this is left.
        no_latent, no_value = self.unused.new_empty(0), self.model.alpha.new_empty(0)
        parts = [(no_latent, no_latent, no_value, no_latent, no_value)]
        for group in groups:
            if self.settings.gradient_checkpointing and torch.is_grad_enabled():
                # Only one group's activations are in memory; the loss is still that of the whole batch.
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
        """Returns the squared error of the SAE's reconstruction of each token."""
        head = self.model.head
        values, latents = head(states, self.model.config.k_sae, dtype=self.dtype)
        return (states - head.b_dec - decode(values, latents, head.dictionary)).square().sum(1)

    @torch.no_grad()
    def _count(self, documents: Pooled, n_documents: int) -> None:
        """Counts steps, and for each latent the passages since one had it, over all processes."""
        processes = distributed.get_world_size() if distributed.is_initialized() else 1
        self.step += 1
        self.unused += n_documents * processes
        self.unused[documents.latents] = 0
        if processes > 1:
            distributed.all_reduce(self.unused, distributed.ReduceOp.MIN)


def spread(scores: Tensor) -> Tensor:
    """Returns the mean over queries of the standard deviation of ``[B, n]`` scores."""
    return scores.std(1, correction=0).mean()


def _blocks(scores: Tensor) -> Tensor:
    """Returns the columns ``[B, n]`` of each query's own passages."""
    return torch.arange(scores.shape[1], device=scores.device).view(len(scores), -1)
