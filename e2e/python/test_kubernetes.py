"""The manifests of deploy/kubernetes against the schemas of Kubernetes itself."""
import sys

import kubernetes_validate
import yaml

for file in sys.argv[1:]:
    with open(file, encoding="utf-8") as text:
        documents = list(yaml.safe_load_all(text))
    assert documents, f"{file} is empty"
    for document in documents:
        kubernetes_validate.validate(document, "1.31", strict=True)
        print("valid:", document["kind"], document["metadata"]["name"])
