"""What some samples of the two corpora say, read by a person from the mail's own words.

The first part is every fourth sample in order of name, so that nobody has chosen them; the second those that are hard to tell. A label is the class
of the failure; DELAYED: it will be tried again; NOBODY: no bounce, or none that names anybody. What the reader says otherwise is the reader's fault.
"""

BAD, FULL, POLICY, OTHER = "bad-mailbox", "full", "policy", "other"
DELAYED, NOBODY = "delayed", "nobody"

EVERY_FOURTH = {
    "flufl/aol_01.txt": POLICY,  # they do not accept mail from the list
    "flufl/caiwireless_01.txt": OTHER,
    "flufl/dsn_04.txt": FULL,
    "flufl/dsn_08.txt": DELAYED,
    "flufl/dsn_12.txt": BAD,
    "flufl/dsn_16.txt": BAD,
    "flufl/exim_01.txt": BAD,
    "flufl/hotpop_01.txt": FULL,
    "flufl/microsoft_03.txt": OTHER,
    "flufl/postfix_01.txt": BAD,
    "flufl/postfix_05.txt": OTHER,  # a header field is missing
    "flufl/qmail_04.txt": BAD,
    "flufl/qmail_08.txt": NOBODY,
    "flufl/simple_03.txt": DELAYED,
    "flufl/simple_07.txt": FULL,
    "flufl/simple_11.txt": BAD,
    "flufl/simple_15.txt": BAD,
    "flufl/simple_19.txt": BAD,
    "flufl/simple_23.txt": BAD,
    "flufl/simple_27.txt": BAD,
    "flufl/simple_31.txt": OTHER,
    "flufl/simple_35.txt": DELAYED,
    "flufl/simple_39.txt": BAD,
    "flufl/simple_43.txt": NOBODY,  # a user is not valid, but which is not said
    "flufl/smtp32_01.txt": OTHER,
    "flufl/smtp32_05.txt": OTHER,
    "flufl/yahoo_02.txt": FULL,
    "flufl/yahoo_06.txt": BAD,
    "flufl/yahoo_10.txt": BAD,
    "flufl/yale_01.txt": BAD,
    "parser/aol.unknown.msg": BAD,
    "parser/bluebottle.msg": NOBODY,  # a challenge
    "parser/comcast-via-sendmail.unknown.msg": BAD,
    "parser/doesnotexist2.msg": BAD,
    "parser/gmail-via-sendmail.unknown.msg": BAD,
    "parser/long-smtp.msg": OTHER,  # given up
    "parser/message-too-large-2.msg": OTHER,
    "parser/message-too-large-6.msg": OTHER,
    "parser/no-message-collected.msg": NOBODY,
    "parser/not-a-relay.msg": POLICY,
    "parser/postfix-host-unknown.msg": BAD,
    "parser/postfix.msg": POLICY,
    "parser/quota-5.msg": FULL,
    "parser/rcpt-dne.msg": BAD,
    "parser/spam-bogus-email-in-report.msg": NOBODY,
    "parser/spam-rejection11.msg": POLICY,
    "parser/spam-rejection15.msg": POLICY,
    "parser/spam-rejection19.msg": POLICY,
    "parser/spam-rejection22.msg": POLICY,
    "parser/spam-rejection26.msg": POLICY,
    "parser/spam-rejection3.msg": POLICY,
    "parser/spam-rejection33.msg": POLICY,
    "parser/spam-rejection37.msg": POLICY,
    "parser/spam-rejection40.msg": POLICY,
    "parser/spam-rejection5.msg": POLICY,
    "parser/spam-rejection9.msg": POLICY,
    "parser/surfcontrol-extra-newline.msg": OTHER,
    "parser/user-unknown-not-active.msg": BAD,
    "parser/warning-2.msg": BAD,
    "parser/warning-6.msg": NOBODY,
    "parser/whitelist.msg": POLICY,
}

HARD = {
    "flufl/dsn_01.txt": FULL,  # a comment behind the status says so
    "flufl/dsn_03.txt": OTHER,  # the message was too big
    "flufl/dsn_09.txt": POLICY,  # a field of an X.400 gateway says so
    "flufl/dsn_18.txt": BAD,  # only the text says why
    "flufl/llnl_01.txt": BAD,
    "flufl/newmailru_01.txt": FULL,
    "flufl/postfix_02.txt": BAD,
    "flufl/postfix_04.txt": FULL,  # "permission denied. Command output: Mail quota exceeded"
    "flufl/qmail_02.txt": FULL,
    "flufl/qmail_06.txt": FULL,
    "flufl/simple_09.txt": FULL,
    "flufl/simple_13.txt": BAD,  # French
    "flufl/simple_14.txt": FULL,
    "flufl/simple_42.txt": POLICY,
    "flufl/simple_45.txt": FULL,
    "flufl/yahoo_01.txt": OTHER,  # 4.4.1, but nobody will try again
    "parser/aol-vacation.msg": NOBODY,
    "parser/att-via-sendmail.unknown.msg": BAD,
    "parser/autoreply.msg": NOBODY,
    "parser/badrcptto.msg": BAD,  # with status 5.7.1
    "parser/boxbe-cr.msg": DELAYED,  # a challenge that looks like a report
    "parser/boxbe-cr2.msg": DELAYED,
    "parser/polish-autoreply.msg": NOBODY,
    "parser/quota-4.msg": OTHER,  # in spite of 5.1.1 and its name: the message was too big
    "parser/quota.msg": FULL,
    "parser/warning-1.msg": BAD,  # with a footer that speaks of viruses
    "parser/warning-4.msg": FULL,
    "parser/warning-7.msg": FULL,
    "parser/warning-8.msg": DELAYED,
    "parser/warning-9.msg": POLICY,  # the reason, not the "user unknown" that another server said in the same session
}
LABELS = EVERY_FOURTH | HARD

# Replies, challenges and warnings of delay: nobody may be scored for them, whoever they name.
AUTOMATIC = frozenset(
    [
        *(name for name, label in LABELS.items() if label == DELAYED),
        *(f"flufl/dsn_{number}.txt" for number in ("05", "06", "07", "08", "17")),
        *(f"flufl/simple_{number}.txt" for number in ("03", "21", "22", "28", "35", "40")),
        "flufl/qmail_08.txt",
        "parser/aol-vacation.msg",
        "parser/autoreply.msg",
        "parser/bluebottle.msg",
        "parser/polish-autoreply.msg",
        "parser/warning-5.msg",
        "parser/warning-6.msg",
    ]
)

# What flufl.bounce alone counts as failed for good and we do not, and why.
NOT_FAILED = {
    "flufl/simple_44.txt": "4.4.4 alone is never permanent",
    "parser/warning-3.msg": "1 is no address; the one that it stands for is found",
}

# Bounces, as a person reads them, in which no address can be found.
RETURNED = {
    "flufl/dumbass_01.txt",  # a virus scanner's
    "flufl/simple_43.txt",
    "parser/no-message-collected.msg",
    "parser/novell-with-rhs.msg",
    "parser/spam-rejection42.msg",
}
