package io.sentriton;

/** The reaction of a call to another model on the server. */
public enum OnModelChange {
    /** The call throws {@link ContractMismatchException}. */
    RAISE,
    /** The call reads the manifest again and restarts with that model, at most three times. */
    RELOAD
}
