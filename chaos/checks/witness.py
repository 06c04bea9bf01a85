"""Whether every planned fault was confirmed, touched real traffic, and was undone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.model.verdict import Finding, Verdict

if TYPE_CHECKING:
    from chaos.model.evidence import Evidence
    from chaos.model.run import InjectionRecord


def witnesses(evidence: Evidence) -> list[Finding]:
    """Judge each fault of the plan; a planned fault without a record is INCONCLUSIVE like an unproved one."""
    findings: list[Finding] = []
    left = list(evidence.injections)
    for phase in evidence.plan.phases:
        for fault in phase.faults:
            record = next((i for i in left if i.phase == phase.name and i.fault == fault), None)
            if record is not None:
                left.remove(record)
            findings.append(_judge(phase.name, fault, record))
    return findings


def _judge(phase: str, fault: dict[str, object], record: InjectionRecord | None) -> Finding:
    name = f"{fault['kind']} {fault['target']}"

    def finding(verdict: Verdict, sentence: str, measured: float | None = None) -> Finding:
        return Finding("witness", name, phase, verdict, measured, None, "s in force", sentence)

    if record is None:
        return finding(Verdict.INCONCLUSIVE, f"{name} was planned and never asked for")
    if record.confirmed_s is None:
        why = record.problem or "its state was never read back"
        return finding(Verdict.INCONCLUSIVE, f"{name} was not confirmed: {why}")
    if not record.witness.get("touched"):
        why = (
            record.witness.get("reason") or record.problem or "no evidence that it touched traffic"
        )
        return finding(Verdict.INCONCLUSIVE, f"{name} was confirmed but not witnessed: {why}")
    if record.healed_s is None:
        return finding(
            Verdict.ERROR, f"{name} was never healed; {record.problem or 'see injections.jsonl'}"
        )
    numbers = ", ".join(
        f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}"
        for k, v in record.witness.items()
        if k not in {"touched", "reason", "kind"} and isinstance(v, (int, float, str)) and v != ""
    )
    length = record.healed_s - record.confirmed_s
    return finding(
        Verdict.PASS, f"{name} was in force for {length:.2f} s; witness: {numbers}", length
    )
