"""deploy/kubernetes: the manifests against Kubernetes' own schemas, the configuration in them against the binary, and what has to fit together."""

import copy
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

from dockerfile_steps import parse
from gateway import ROOT, binary, clean_environment

FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION = "kustomization.yaml"
# The first with the `sleep` action, and the newest that the validator knows.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]
# Between the end of the time for a graceful stop and the end of the process: the last words of what still runs.
LAST_WORDS_SECONDS = 5


def manifests():
    return {path.name: list(yaml.safe_load_all(path.read_text())) for path in sorted(FOLDER.glob("*.yaml")) if path.name != KUSTOMIZATION}


def manifest(kind):
    [found] = [document for documents in manifests().values() for document in documents if document["kind"] == kind]
    return found


@pytest.fixture
def deployment():
    return manifest("Deployment")


@pytest.fixture
def pod(deployment):
    return deployment["spec"]["template"]["spec"]


@pytest.fixture
def container(pod):
    [container] = pod["containers"]
    return container


@pytest.fixture
def config():
    return yaml.safe_load(manifest("ConfigMap")["data"]["adit.yaml"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", manifests())
def test_the_schema_takes_it(name, version):
    documents = manifests()[name]
    assert documents
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
        # Whoever applies it says where.
        assert "namespace" not in document["metadata"]


def unknown_member(deployment):
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}


def wrong_type(deployment):
    deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = "5m"


def missing_member(deployment):
    del deployment["spec"]["selector"]


@pytest.mark.parametrize("break_it", [unknown_member, wrong_type, missing_member])
def test_the_schema_refuses_a_broken_one(deployment, break_it):
    broken = copy.deepcopy(deployment)
    break_it(broken)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_the_kustomization_names_every_manifest_and_the_version():
    kustomization = yaml.safe_load((FOLDER / KUSTOMIZATION).read_text())
    assert sorted(kustomization["resources"]) == sorted(manifests())
    [image] = kustomization["images"]
    version = subprocess.run([binary(), "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    assert (image["name"], image["newTag"]) == (manifest("Deployment")["spec"]["template"]["spec"]["containers"][0]["image"], version)


def test_kustomize_builds_it():
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here")
    run = subprocess.run(["kubectl", "kustomize", FOLDER], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    built = list(yaml.safe_load_all(run.stdout))
    for document in built:
        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
    assert sorted(document["kind"] for document in built) == sorted(document["kind"] for documents in manifests().values() for document in documents)


def check(folder, container):
    """`adit -t` on the files as they are mounted, with the container's own arguments."""
    arguments = [word.replace("/etc/adit", str(folder)) for word in container["args"]]
    return subprocess.run([binary(), *arguments, "--test"], env=clean_environment(), capture_output=True, text=True)


def test_the_binary_takes_the_configuration(tmp_path, container):
    data = manifest("ConfigMap")["data"]
    for name, text in data.items():
        (tmp_path / name).write_text(text)
    run = check(tmp_path, container)
    assert run.returncode == 0, run.stderr
    for model in yaml.safe_load(data["models.yaml"])["models"]:
        assert f"  {model}\n" in run.stdout

    (tmp_path / "models.yaml").write_text(data["models.yaml"].replace("default_provider", "defualt_provider"))
    run = check(tmp_path, container)
    assert run.returncode == 2 and "defualt_provider" in run.stderr


def test_the_configuration_is_mounted_as_a_folder(pod, container):
    [volume] = [volume for volume in pod["volumes"] if volume.get("configMap")]
    assert volume["configMap"] == {"name": manifest("ConfigMap")["metadata"]["name"]}
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == volume["name"]]
    assert mount == {"name": volume["name"], "mountPath": "/etc/adit", "readOnly": True}


def test_a_pod_has_the_time_that_its_last_request_may_take(pod, container, config):
    stop = config["pingora"]["grace_period_seconds"] + config["pingora"]["graceful_shutdown_timeout_seconds"] + LAST_WORDS_SECONDS
    drain = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > drain + stop
    # Traffic that still comes must not outlast the sleep where only the probe tells that a pod leaves.
    readiness = container["readinessProbe"]
    assert drain >= readiness["periodSeconds"] * readiness["failureThreshold"]


def test_no_pod_leaves_before_another_one_is_there(deployment):
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert manifest("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert manifest("HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 2
    # An apply would undo what the autoscaler has done.
    assert "replicas" not in deployment["spec"]


def test_ports_agree(deployment, container, config):
    [port] = container["ports"]
    exposed = next(value for _, name, value in parse((ROOT / "Dockerfile").read_text()) if name == "EXPOSE")
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    [service] = manifest("Service")["spec"]["ports"]
    [rule] = manifest("NetworkPolicy")["spec"]["ingress"]
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert config["listen"]["http"] == f"0.0.0.0:{port['containerPort']}"
    assert exposed == annotations["prometheus.io/port"] == str(port["containerPort"])
    assert [service["targetPort"], rule["ports"][0]["port"], *(probe["port"] for probe in probes.values())] == [port["name"]] * 5
    assert {name: probe["path"] for name, probe in probes.items()} == {"startupProbe": "/health", "readinessProbe": "/ready", "livenessProbe": "/health"}
    assert annotations["prometheus.io/path"] == "/metrics"


def test_labels_and_names_agree(deployment, pod):
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        manifest("Service")["spec"]["selector"],
        manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(constraint["labelSelector"]["matchLabels"] for constraint in pod["topologySpreadConstraints"]),
    ]
    for selector in selectors:
        assert selector and selector.items() <= labels
    assert pod["serviceAccountName"] == manifest("ServiceAccount")["metadata"]["name"]
    target = manifest("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": deployment["apiVersion"], "kind": "Deployment", "name": deployment["metadata"]["name"]}


def test_the_pod_is_restricted(pod, container):
    """The `restricted` level of the Pod Security Standards, and a root file system that nobody writes."""
    user = next(value for _, name, value in parse((ROOT / "Dockerfile").read_text()) if name == "USER")
    of_pod, own = pod["securityContext"], container["securityContext"]
    assert of_pod["runAsNonRoot"] is True and f"{of_pod['runAsUser']}:{of_pod['runAsGroup']}" == user
    assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert pod["automountServiceAccountToken"] is False


def test_no_secret_is_in_a_manifest():
    account = manifest("ServiceAccount")["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert account.split(":")[4] == "111122223333"
    assert not [documents for documents in manifests().values() for document in documents if document["kind"] == "Secret"]
    for provider in yaml.safe_load(manifest("ConfigMap")["data"]["models.yaml"])["providers"].values():
        assert provider.get("api_key", "${").startswith("${")
