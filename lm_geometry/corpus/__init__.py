"""Running text: fetching a corpus, cleaning it to prose, cutting it into chunks. No model in here."""
