"""Export, launch, supervise and train: everything of Sentriton that needs torch."""
