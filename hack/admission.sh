# Sourced by what deletes objects of ours. Sets ours, the label that they have, and
# admission: the kinds of the admission API that the server has, denials before the
# injection that they insist on. That one group is asked, since discovery of all groups
# fails with any aggregated API.
ours=app.kubernetes.io/part-of=sfunnel
has=" $(kubectl get --raw=/apis/admissionregistration.k8s.io/v1 | grep -o '"name":"[a-z]*"' | cut -d '"' -f 4 | xargs) "
admission=()
for kind in validatingadmissionpolicybindings validatingadmissionpolicies mutatingwebhookconfigurations \
	mutatingadmissionpolicybindings mutatingadmissionpolicies; do
	[[ $has != *" $kind "* ]] || admission+=("$kind")
done
