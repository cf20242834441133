// SPDX-License-Identifier: Apache-2.0

package rules

import "strings"

type tokenKind uint8

const (
	tokenWord  tokenKind = iota // keyword, number, range, address
	tokenOpen                   // {
	tokenClose                  // }
	tokenComma                  // ,
	tokenNot                    // !=
	tokenEnd                    // end of a rule: newline, ; or end of text
)

// A token with its place in the text; line and column count from 1, columns
// in bytes.
type token struct {
	kind         tokenKind
	text         string
	line, column int
}

// String is the token as an error message shows it.
func (t token) String() string {
	if t.kind == tokenEnd && t.text != ";" {
		return "end of line"
	}
	return t.text
}

// scanner cuts rule text into tokens. The text of every token is a part of
// the input.
type scanner struct {
	text         string
	line, column int
}

// scan returns all tokens of the text; the last one is a tokenEnd.
func scan(text string) []token {
	s := scanner{text: strings.TrimPrefix(text, "\ufeff"), line: 1, column: 1}
	var tokens []token
	for s.skipBlank(); s.text != ""; s.skipBlank() {
		tokens = append(tokens, s.next())
	}
	return append(tokens, s.token(tokenEnd, 0))
}

// skipBlank steps over spaces and over a comment, not over a newline.
func (s *scanner) skipBlank() {
	s.advance(len(s.text) - len(strings.TrimLeft(s.text, " \t\r\f\v")))
	if strings.HasPrefix(s.text, "#") {
		s.advance(lengthUntil(s.text, "\n"))
	}
}

// next reads one token; the text is not empty.
func (s *scanner) next() token {
	switch s.text[0] {
	case '\n':
		end := s.token(tokenEnd, 1)
		s.line, s.column = s.line+1, 1
		return end
	case ';':
		return s.token(tokenEnd, 1)
	case '{':
		return s.token(tokenOpen, 1)
	case '}':
		return s.token(tokenClose, 1)
	case ',':
		return s.token(tokenComma, 1)
	case '!':
		return s.not()
	}
	return s.token(tokenWord, s.wordLength())
}

// wordLength is the length of the word ahead. ${NAME} is one word, so that a
// placeholder is reported as a whole.
func (s *scanner) wordLength() int {
	if strings.HasPrefix(s.text, "${") {
		if n := lengthUntil(s.text, "}\n"); n < len(s.text) && s.text[n] == '}' {
			return n + 1
		}
	}
	return lengthUntil(s.text, " \t\r\f\v\n;{},!#")
}

// not reads "!="; a lone "!" becomes a word that no rule expects.
func (s *scanner) not() token {
	if strings.HasPrefix(s.text, "!=") {
		return s.token(tokenNot, 2)
	}
	return s.token(tokenWord, 1)
}

// token cuts n bytes off the text.
func (s *scanner) token(kind tokenKind, n int) token {
	t := token{kind: kind, text: s.text[:n], line: s.line, column: s.column}
	s.advance(n)
	return t
}

func (s *scanner) advance(n int) {
	s.text = s.text[n:]
	s.column += n
}

// lengthUntil is the number of bytes before the first of the stop characters.
func lengthUntil(text, stops string) int {
	if n := strings.IndexAny(text, stops); n >= 0 {
		return n
	}
	return len(text)
}
