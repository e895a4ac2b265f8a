"""The ``pointssl finetune`` commands, and what they share."""
