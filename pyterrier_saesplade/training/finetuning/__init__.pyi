from .finetune import finetune as finetune
