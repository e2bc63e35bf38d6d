"""Embeds files of sentences into files of embeddings, in constant memory. An interrupted run resumes."""
