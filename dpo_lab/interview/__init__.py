"""Interview practice: a bank of questions, flashcards, coding challenges and mock interviews."""

from dpo_lab.interview.bank import Bank, BankError, Proof, Question, Source, WrongAnswer, load_bank

__all__ = ["Bank", "BankError", "Proof", "Question", "Source", "WrongAnswer", "load_bank"]
