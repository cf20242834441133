// SPDX-License-Identifier: Apache-2.0

package certs

// The keys of a Secret that holds a State.
const (
	keyServingCertificate = "tls.crt"
	keyServingKey         = "tls.key"
	keyNextCertificate    = "next.crt"
	keyNextKey            = "next.key"
	keyRetired            = "retired.crt"
)

// Data is the state as the data of a Secret.
func (s State) Data() map[string][]byte {
	data := map[string][]byte{
		keyServingCertificate: s.Serving.Certificate,
		keyServingKey:         s.Serving.Key,
		keyNextCertificate:    s.Next.Certificate,
		keyNextKey:            s.Next.Key,
		keyRetired:            s.Retired,
	}
	for key, value := range data {
		if len(value) == 0 {
			delete(data, key)
		}
	}
	return data
}

// FromData is the state that a Secret's data holds; what is missing stays empty.
func FromData(data map[string][]byte) State {
	return State{
		Serving: Pair{Certificate: data[keyServingCertificate], Key: data[keyServingKey]},
		Next:    Pair{Certificate: data[keyNextCertificate], Key: data[keyNextKey]},
		Retired: data[keyRetired],
	}
}
