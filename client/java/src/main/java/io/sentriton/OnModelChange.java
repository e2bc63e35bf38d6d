package io.sentriton;

/** The reaction of a call to a server with another model than the one that the call began with. */
public enum OnModelChange {
    /** The call throws {@link ContractMismatchException}. */
    RAISE,
    /** The call reads the manifest again and restarts with that model, at most three times. */
    RELOAD
}
