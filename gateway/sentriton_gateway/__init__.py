"""OpenAI's embeddings API over HTTP for a Sentriton server."""
