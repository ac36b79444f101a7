"""How a question is answered: from trials to stages, from stages to records, from records to a page."""
