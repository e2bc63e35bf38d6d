"""Files of sentences in, files of embeddings out: in constant memory, and resumed where a run was interrupted.

sentences.py and parquet.py read, by the column that columns.py chooses; outputs.py and parquet.py keep rows; resume.py
says whose rows they are; embedding.py joins them; command.py is `sentriton embed`. heat_map.py draws what
`sentriton similarity --plot` shows.
"""
