"""The conformance suite: every rule of the specification as manifests and a check, run from outside.

    model        what a case, a profile and a result are
    cases/       the cases, one module a profile
    coverage     the rules that no case can see from outside, and why
    oracle       an independent, tiny account of who may talk to whom; `matrix` compares it with what is measured
    driver       what the suite needs of a platform: `standalone`, `kubernetes`
    bench        what a case does: apply, call, expect
    suite        picks cases, runs them, reports
    report       the report as data, and the page made of it
    echo, call   the backend and the client, run inside Pods

It knows the objects of the API, the traffic and nothing else: an import contract keeps the rest of Smeagol out.
"""
