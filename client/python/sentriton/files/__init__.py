"""Files of sentences in, files of embeddings out: in constant memory, and resumed where a run was interrupted."""
