#!/bin/sh
# A `RUSTC_WRAPPER` that counts coverage in the gateway and in the targets. Dependencies are built as they are: what
# is looked for is not in them, and all of them with coverage take an hour to build. Optimizing across the parts of the
# gateway takes as long as all the rest.
case " $* " in
*" --crate-name sallyport "* | *" fuzz_targets/"*)
    exec "$@" --cfg fuzzing -Clto=off -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
*) exec "$@" ;;
esac
