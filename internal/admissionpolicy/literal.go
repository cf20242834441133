// SPDX-License-Identifier: Apache-2.0

package admissionpolicy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// expression is CEL that stands for itself where a value is written as a literal.
type expression string

// optional is CEL of an optional value: a map has it where there is one.
type optional string

// literal writes a value decoded from JSON as CEL. Strings that contain a key of
// marks become concatenations with its expression.
//
// CEL wants one type for all elements of a list or map; dyn hides the others.
func literal(value any, marks map[string]expression) string {
	switch value := value.(type) {
	case expression:
		return string(value)
	case string:
		return text(value, marks)
	case bool:
		return strconv.FormatBool(value)
	case float64:
		return strconv.FormatInt(int64(value), 10) // pods hold no fractions
	case []any:
		return "[" + strings.Join(elements(value, marks), ", ") + "]"
	case map[string]any:
		return "{" + strings.Join(entries(value, marks), ", ") + "}"
	}
	panic(fmt.Sprintf("no literal for %T", value)) // all that JSON knows but null
}

func elements(list []any, marks map[string]expression) []string {
	var written []string
	for _, element := range list {
		written = append(written, hidden(element, allText(list), marks))
	}
	return written
}

func entries(object map[string]any, marks map[string]expression) []string {
	alike := allText(slices.Collect(maps.Values(object)))
	var written []string
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if value, is := object[key].(optional); is {
			written = append(written, "?"+quoted(key)+": "+string(value))
			continue
		}
		written = append(written, quoted(key)+": "+hidden(object[key], alike, marks))
	}
	return written
}

func hidden(value any, alike bool, marks map[string]expression) string {
	if alike {
		return literal(value, marks)
	}
	return "dyn(" + literal(value, marks) + ")"
}

// allText says whether all values are strings.
func allText(values []any) bool {
	return !slices.ContainsFunc(values, func(value any) bool {
		_, isText := value.(string)
		return !isText
	})
}

func text(value string, marks map[string]expression) string {
	for _, mark := range slices.Sorted(maps.Keys(marks)) {
		before, after, found := strings.Cut(value, mark)
		if !found {
			continue
		}
		parts := []string{string(marks[mark])}
		if before != "" {
			parts = slices.Insert(parts, 0, text(before, marks))
		}
		if after != "" {
			parts = append(parts, text(after, marks))
		}
		return strings.Join(parts, " + ")
	}
	return quoted(value)
}

// quoted is a CEL string literal.
func quoted(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}
