// SPDX-License-Identifier: Apache-2.0

package survey

import (
	"slices"
	"strings"
	"testing"
)

// A vocabulary: told("a", "tcp/80=x", "udp/53=y", "udp/54=") is client a, answered by
// pods x and y and not at all on the last port.
func told(name string, answers ...string) Client {
	c := Client{Name: name, Answers: map[string]Answer{}, Errors: map[string]string{}}
	for _, answer := range answers {
		port, pod, _ := strings.Cut(answer, "=")
		target := strings.Replace(port, "/", "://10.0.0.1:", 1)
		if pod == "" {
			c.Errors[target] = "timed out"
		} else {
			c.Answers[target] = Answer{Pod: "echo-" + pod}
		}
	}
	return c
}

func TestCount(t *testing.T) {
	for _, test := range []struct {
		name    string
		clients []Client
		want    Counts
	}{
		{"nobody", nil, Counts{}},
		{"one pod for all ports", []Client{told("a", "tcp/80=x", "udp/53=x")}, Counts{Clients: 1}},
		{"two pods", []Client{told("a", "tcp/80=x", "udp/53=y")}, Counts{Clients: 1, Split: 1}},
		{"silence is not split", []Client{told("a", "tcp/80=x", "udp/53=")}, Counts{Clients: 1, Mute: 1}},
		{"both", []Client{told("a", "tcp/80=x", "tcp/81=y", "udp/53=")}, Counts{Clients: 1, Split: 1, Mute: 1}},
		{"clients differ from each other", []Client{told("a", "tcp/80=x"), told("b", "tcp/80=y")}, Counts{Clients: 2}},
	} {
		if got := Count(test.clients); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

func TestPrint(t *testing.T) {
	var out strings.Builder
	Print(&out, []Client{
		told("client-1", "tcp/80=x", "udp/2055=y"),
		told("10.93.0.1", "tcp/80=z", "udp/2055=z"),
		told("10.93.0.2", "tcp/80=z", "udp/2055="),
	})
	want := `CLIENT     tcp/80  udp/2055   
client-1   x       y          split
10.93.0.1  z       z          together
10.93.0.2  z       no answer  
1 of 3 clients split, 1 not answered on every port
10.93.0.2: udp://10.0.0.1:2055: timed out
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}

func TestTargetsOfBothFamilies(t *testing.T) {
	var s service
	s.Spec.Ports = append(s.Spec.Ports, struct {
		Protocol string
		Port     int
	}{"UDP", 2055})
	got := strings.Join(s.targets([]string{"10.0.0.1", "fd92::1"}), " ")
	if want := "udp://10.0.0.1:2055 udp://[fd92::1]:2055"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestQuestionOfOneFamily(t *testing.T) {
	addresses := []string{"10.0.0.1", "fd92::1"}
	for family, want := range map[int]string{0: "10.0.0.1", 4: "10.0.0.1", 6: "fd92::1"} {
		if got := strings.Join(Question{Family: family}.ofFamily(addresses), " "); got != want {
			t.Errorf("family %d: got %s, want %s", family, got, want)
		}
	}
}

func TestStreamKeepsWhoAnsweredWhat(t *testing.T) {
	var s Stream
	if s.Now() != (Spell{}) {
		t.Errorf("before the first answer: %+v", s.Now())
	}
	s.Add("x", 100)
	s.Add("x", 200)
	before := s.Clone()
	s.Add("y", 900)
	s.Add("x", 1000)
	s.Add("x", 1100)
	if want := []Spell{{"x", 100, 200}, {"y", 900, 900}, {"x", 1000, 1100}}; !slices.Equal(s.Spells, want) {
		t.Errorf("got %+v, want %+v", s.Spells, want)
	}
	if before.Now() != (Spell{"x", 100, 200}) {
		t.Errorf("the copy changed: %+v", before)
	}
}
