package sentriton

import (
	"fmt"
	"time"
	"unicode/utf8"
)

// checkTexts rejects sentences that are not valid UTF-8.
func checkTexts(sentences []string) error {
	for place, text := range sentences {
		if !utf8.ValidString(text) {
			return invalidText(fmt.Sprintf("sentences[%d]", place), text)
		}
	}
	return nil
}

func checkText(name, text string) error {
	if utf8.ValidString(text) {
		return nil
	}
	return invalidText(name, text)
}

// invalidText names the first byte of text that is not UTF-8.
func invalidText(name, text string) error {
	characters := 0
	for place, character := range text {
		if character == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(text[place:]); size == 1 {
				return invalidInput(
					"%s has the byte 0x%02x at position %d (character %d), which %s; give valid UTF-8",
					name, text[place], place, characters, wrongByte(text[place:]),
				)
			}
		}
		characters++
	}
	return nil
}

func wrongByte(rest string) string {
	if len(rest) >= 2 && rest[0] == 0xed && rest[1] >= 0xa0 && rest[1] <= 0xbf {
		return "begins a surrogate, half of a UTF-16 pair"
	}
	return "is not UTF-8 there"
}

// wholeNumber rejects a value below 1 or above most (0: no bound).
func wholeNumber(name string, value, most int) error {
	if value >= 1 && (most == 0 || value <= most) {
		return nil
	}
	allowed := "whole numbers from 1"
	if most > 0 {
		allowed = fmt.Sprintf("1 to %d", most)
	}
	return invalidInput("%s is %d; allowed are %s", name, value, allowed)
}

func positive(name string, value time.Duration) error {
	if value > 0 {
		return nil
	}
	return invalidInput("%s is %v; allowed are times above 0", name, value)
}
