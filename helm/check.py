#!/usr/bin/env python3
"""Checks the chart: `check.py PROGRAMS`, the folder of built programs; `--update` writes golden anew.

Every set of values in `aevon/ci` is rendered by Helm's own engine, compared with `golden/`, held to
Kubernetes' schemas, to the rules below, and to the programs that it starts.
"""

import copy
import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import helm_python
import kubernetes_validate
import yaml

HERE = Path(__file__).parent
ROOT = HERE.parent
CHART = HERE / "aevon"
VERSIONS = ["1.29", kubernetes_validate.latest_version()]
# Of operators and of the Gateway API: Kubernetes has no schemas for them.
CUSTOM = {"ServiceMonitor", "PrometheusRule", "HTTPRoute"}
# What the chart decides, so that values don't.
OWNED = {"server.host", "server.port", "database.url", "database.replicas", "aggregation.config_dir",
         "aggregation.apply_on_start", "schema.path", "shutdown.grace"}
# A process ends at the latest so long after its grace (crates/aevon-service/src/cli.rs).
AFTER_GRACE = 6

faults = []


def check(fine, *what):
    if not fine:
        faults.append(": ".join(map(str, what)))


def documented_settings():
    rows = re.findall(r"^\| `([a-z_.]+)` \| `(AEVON_\w+)`", (ROOT / "docs/settings.md").read_text(), re.M)
    return dict(rows)


def render(chart, values, namespace="metering"):
    """Rendered files, by path. Raises what Helm would print."""
    chart.validate_schema(values)
    return chart.render(values, name="prod", namespace=namespace)


def objects(files):
    """What is installed, and the pod of the command that NOTES.txt proposes."""
    overrides = re.search(r"--overrides='(.*)'", files["aevon/templates/NOTES.txt"])
    notes = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "aevon-key", "labels": {}}}
    proposed = [notes | json.loads(overrides[1])] if overrides else []
    texts = (text for path, text in sorted(files.items()) if path.endswith(".yaml"))
    return [one for text in texts for one in yaml.safe_load_all(text) if one] + proposed


def golden(files):
    kept = ((path, text.strip("\n")) for path, text in sorted(files.items()) if text.strip())
    return "".join(f"# {path}\n{text}\n\n" for path, text in kept)


def compare(name, text, update):
    path = HERE / "golden" / f"{name}.txt"
    if update:
        path.write_text(text)
    was = path.read_text() if path.exists() else ""
    diff = "\n".join(difflib.unified_diff(was.splitlines(), text.splitlines(), "golden", "rendered", lineterm="", n=1))
    check(not diff, name, f"differs from {path.relative_to(ROOT)} (make chart ARGS=--update)\n{diff}")


def validate(name, one):
    what = f"{one['kind']} {one['metadata']['name']}"
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            check(one["kind"] in CUSTOM, name, what, f"Kubernetes {version} has no such kind")
        except kubernetes_validate.ValidationError as error:
            check(False, name, what, version, ".".join(map(str, error.path)), error.message)


def pods(all_objects):
    for one in all_objects:
        spec = one.get("spec", {})
        if one["kind"] in ("Deployment", "Job"):
            yield one, spec["template"]["metadata"], spec["template"]["spec"]
        elif one["kind"] == "Pod":
            yield one, one["metadata"], spec


def check_pod(name, one, spec):
    """The `restricted` standard, and what we ask beyond it."""
    what = f"{one['kind']} {one['metadata']['name']}"
    pod = spec["securityContext"]
    check(pod["runAsNonRoot"] is True and pod["seccompProfile"] == {"type": "RuntimeDefault"}, name, what, "pod security")
    check(spec["enableServiceLinks"] is False, name, what, "service links")
    check(spec["automountServiceAccountToken"] is False, name, what, "token")
    check(not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name, what, "host namespaces")
    check(all(volume.keys() == {"name", "configMap"} for volume in spec.get("volumes", [])), name, what, "volumes")
    for container in spec["containers"]:
        security = container["securityContext"]
        wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        check(security == wanted, name, what, "container security")
        check("memory" in container["resources"]["limits"], name, what, "no limit of memory")
    if one["kind"] == "Deployment":
        env = {e["name"]: e.get("value") for e in spec["containers"][0]["env"]}
        sleep = spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        grace = int(env["AEVON_SHUTDOWN__GRACE"].removesuffix("s"))
        check(spec["terminationGracePeriodSeconds"] > sleep + grace + AFTER_GRACE, name, what, "killed before it may end")


def check_references(name, all_objects, values):
    """What one object says of another is so."""
    of = lambda kind: {one["metadata"]["name"]: one for one in all_objects if one["kind"] == kind}
    accounts, folders = of("ServiceAccount").keys(), of("ConfigMap").keys()
    named = set(re.findall(r"[\w.-]+", yaml.safe_dump(values))) | {"default"}
    labels = [metadata["labels"] for _, metadata, _ in pods(all_objects)]
    for one, _, spec in pods(all_objects):
        what = f"{one['kind']} {one['metadata']['name']}"
        account = spec.get("serviceAccountName", "default")
        check(account in accounts or account in named, name, what, f"no account {account}")
        for volume in spec.get("volumes", []):
            folder = volume["configMap"]["name"]
            check(folder in folders or folder in named, name, what, f"no folder {folder}")
    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment"):
        for what, one in of(kind).items():
            selector = one["spec"].get("selector") or one["spec"]["podSelector"]
            selector = selector.get("matchLabels", selector)
            check(len([l for l in labels if selector.items() <= l.items()]) == 1, name, kind, what, "selects not one kind of pod")
    for what, one in of("HorizontalPodAutoscaler").items():
        check(one["spec"]["scaleTargetRef"]["name"] in of("Deployment"), name, what, "scales nothing")
    keys = [(one["kind"], one["metadata"]["name"]) for one in all_objects]
    check(len(keys) == len(set(keys)), name, "two objects of one name")
    check(all(len(one["metadata"]["name"]) <= 63 for one in all_objects), name, "a name is too long")


def check_programs(name, all_objects, programs, settings):
    """Each container's program takes its arguments and its environment as they stand."""
    folders = {one["metadata"]["name"]: one["data"] for one in all_objects if one["kind"] == "ConfigMap"}
    for one, _, spec in pods(all_objects):
        for container in spec["containers"]:
            program = container["image"].rsplit("/", 1)[1].split(":")[0]
            what = f"{one['metadata']['name']} {program}"
            env = {e["name"]: e.get("value", "postgres://aevon@db/aevon") for e in container.get("env", [])}
            check(set(env) <= set(settings.values()), name, what, f"no such settings: {set(env) - set(settings.values())}")
            args = container.get("args", []) + (["--check-config"] if one["kind"] == "Deployment" else ["--help"])
            with tempfile.TemporaryDirectory() as root:
                lay_out(root, spec, container, folders)
                env = {key: under(root, value) for key, value in env.items()}
                run(name, what, [programs / program, *args], env)
                if args[:2] == ["rules", "apply"]:
                    folder = under(root, args[2])
                    if os.path.isdir(folder):
                        run(name, what, [programs / program, "rules", "check", folder], env)


def under(root, path):
    return f"{root}{path}" if path.startswith("/") else path


def lay_out(root, spec, container, folders):
    mounts = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", [])}
    for volume in spec.get("volumes", []):
        data = folders.get(volume["configMap"]["name"])
        if data is None:  # somebody else's
            Path(under(root, mounts[volume["name"]])).mkdir(parents=True)
            continue
        for item in volume["configMap"].get("items", [{"key": key, "path": key} for key in data]):
            path = Path(under(root, mounts[volume["name"]]), item["path"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(data[item["key"]])


def run(name, what, command, env):
    done = subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, timeout=60)
    check(done.returncode == 0, name, what, done.stderr.strip())


def check_routes(name, all_objects):
    """Each documented route of callers leads to the service that has it, and nothing else is led in."""
    document = json.loads((ROOT / "docs/openapi.json").read_text())
    for kind in ("Ingress", "HTTPRoute"):
        for one in (one for one in all_objects if one["kind"] == kind):
            matches = list(ingress_matches(one) if kind == "Ingress" else gateway_matches(one))
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    example = re.sub(r"\{\w+\}", "x", path)
                    tag = operation["tags"][0]
                    wanted = {"process": None, "ingest": "ingest"}.get(tag, "projection")
                    got = route(matches, method.upper(), example)
                    check(got == wanted, name, kind, f"{method} {path} leads to {got}, not {wanted}")


def ingress_matches(one):
    for path in one["spec"]["rules"][0]["http"]["paths"]:
        yield path["pathType"] == "Exact", path["path"], None, path["backend"]["service"]["name"]


def gateway_matches(one):
    for rule in one["spec"]["rules"]:
        for match in rule["matches"]:
            path = match["path"]
            yield path["type"] == "Exact", path["value"], match["method"], rule["backendRefs"][0]["name"]


def route(matches, method, path):
    """An exact path goes before a prefix, a longer prefix before a shorter one."""
    fits = [(exact, len(prefix), to) for exact, prefix, of, to in matches
            if of in (None, method) and (path == prefix or (not exact and path.startswith(prefix + "/")))]
    return max(fits)[2].rsplit("-", 1)[1] if fits else None


def check_files(name, all_objects, values):
    """What is handed on as it stands arrives as it stands."""
    of = lambda kind, suffix: [one for one in all_objects if one["kind"] == kind and one["metadata"]["name"].endswith(suffix)]
    alerts = (CHART / "files/alerts.yaml").read_text()
    for one in of("PrometheusRule", ""):
        runbooks = values["prometheusRule"].get("runbooks", "docs/operating.md")
        check(one["spec"] == yaml.safe_load(alerts.replace("docs/operating.md", runbooks)), name, "alerts are not those of the file")
    for one in of("ConfigMap", "-dashboard"):
        dashboard = json.loads((CHART / "files/dashboard.json").read_text())
        check(json.loads(one["data"]["aevon.json"]) == dashboard, name, "the dashboard is not that of the file")
    for one in of("ConfigMap", "-rules"):
        check(one["data"] == values["rules"]["files"], name, "rules are not those of the values")


def check_schema(settings):
    """Closed at every level, and it knows every setting."""
    schema = json.loads((CHART / "values.schema.json").read_text())

    def walk(place, node):
        if isinstance(node, dict):
            closed = node.get("additionalProperties")
            is_map = isinstance(closed, dict) and closed.get("type") == "string"
            if node.get("type") == "object" and place != "/properties/global":
                check(closed is False or is_map, "values.schema.json", place, "is open")
            for key, value in node.items():
                walk(f"{place}/{key}", value)
        elif isinstance(node, list):
            for index, value in enumerate(node):
                walk(f"{place}/{index}", value)

    walk("", schema)
    sections = schema["definitions"]["settings"]["properties"]
    known = {f"{section}.{key}" for section, of in sections.items() for key in of["properties"]}
    check(known == set(settings) - OWNED, "values.schema.json", "settings", known ^ (set(settings) - OWNED))
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    check(set(values) == set(schema["properties"]) - {"global"}, "values.yaml has other values than the schema")


def check_refusals(chart):
    for case in yaml.safe_load((HERE / "refused.yaml").read_text()):
        try:
            render(chart, case["values"])
            check(False, "refused.yaml", "is not refused", case["values"])
        except helm_python.HelmError as error:
            check(case["says"] in str(error), "refused.yaml", case["says"], f"it says {error}")


def check_rolls(chart, values):
    """A schema rolls the pods that read it, a rule none: its job is run anew."""
    def deployments_and_jobs(changed):
        return {one["metadata"]["name"]: one for one in objects(render(chart, changed)) if one["kind"] in ("Deployment", "Job")}

    before = deployments_and_jobs(values)
    for section, changed in (("schemas", {"prod-aevon-ingest"}), ("rules", {"prod-aevon-rules"})):
        other = copy.deepcopy(values)
        key = sorted(other[section]["files"])[0]
        other[section]["files"][key] += "\n"
        after = deployments_and_jobs(other)
        got = {name for name in before if before[name] != after[name]}
        check(got == changed, section, f"a change changes {got}, not {changed}")


def main():
    update = "--update" in sys.argv
    programs = Path(next(arg for arg in sys.argv[1:] if not arg.startswith("--"))).resolve()
    settings = documented_settings()
    chart = helm_python.Chart.load(CHART)
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    check(chart.metadata["appVersion"] == version, f"appVersion is not {version}, the workspace's")
    sources = "".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    check(not re.search(r"\.Capabilities|lookup", sources), "templates look at the cluster")
    sets = sorted((CHART / "ci").glob("*-values.yaml"))
    kinds = set()
    for path in sets:
        name, values = path.stem.removesuffix("-values"), yaml.safe_load(path.read_text())
        report = helm_python.lint(CHART, values, strict=True, kube_version="v1.29.0")
        check(not report["errors"], name, "lint", report["errors"])
        files = render(chart, values)
        compare(name, golden(files), update)
        found = objects(files)
        kinds |= {one["kind"] for one in found}
        for one in found:
            validate(name, one)
        for one, _, spec in pods(found):
            check_pod(name, one, spec)
        check_references(name, found, values)
        check_routes(name, found)
        check_files(name, found, values)
        check_programs(name, found, programs, settings)
    check({"Ingress", "HorizontalPodAutoscaler", "NetworkPolicy"} | CUSTOM <= kinds, "some kind is in no set")
    check_schema(settings)
    check_refusals(chart)
    check_rolls(chart, yaml.safe_load((CHART / "ci/production-values.yaml").read_text()))
    for fault in faults:
        print(f"chart: {fault}", file=sys.stderr)
    print(f"chart: {len(sets)} sets of values, {len(kinds)} kinds, Kubernetes {' and '.join(VERSIONS)}: {len(faults)} faults")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
