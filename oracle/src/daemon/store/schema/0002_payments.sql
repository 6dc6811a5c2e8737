-- The book of payments: numbered notes without gaps, of which none is ever changed or taken away. Any replica may write,
-- whoever has the lease: a note says the number that follows all that its writer has read, and of two that say the same
-- number one is written. Lines: `made ID DAY`, `said ID WORD`, `heard UNIX MAC`.

create table note (
    number  bigint primary key check (number >= 0),
    line    text not null check (octet_length(line) between 1 and 200),
    sum     bigint not null,
    written timestamptz not null default clock_timestamp()
);
create unique index note_once on note (split_part(line, ' ', 1), split_part(line, ' ', 2))
    where split_part(line, ' ', 1) in ('made', 'said');

create function note_follows() returns trigger language plpgsql as $$
declare
    what    text := split_part(new.line, ' ', 1);
    payment text := split_part(new.line, ' ', 2);
begin
    if new.number <> (select coalesce(max(number) + 1, 0) from note) then
        raise exception 'note % leaves a gap', new.number using errcode = 'HY003';
    end if;
    if what not in ('made', 'said', 'heard')
        or (what in ('made', 'said') and exists (
            select from note where split_part(line, ' ', 1) in ('made', 'said')
                and split_part(line, ' ', 1) = what and split_part(line, ' ', 2) = payment))
        or (what = 'said' and not exists (
            select from note where split_part(line, ' ', 1) in ('made', 'said')
                and split_part(line, ' ', 1) = 'made' and split_part(line, ' ', 2) = payment))
    then
        raise exception 'note % (%) contradicts what has been said of that payment', new.number, new.line
            using errcode = 'HY003';
    end if;
    return new;
end $$;
create trigger note_follows before insert on note for each row execute function note_follows();
create trigger note_stays before update or delete on note for each row execute function record_stays();
create trigger note_stays_all before truncate on note for each statement execute function record_stays();

-- Appends notes, all or none, if `next` is the number that follows.
create function note(next bigint, lines text[], sums bigint[]) returns text language plpgsql as $$
declare
    ours bigint;
begin
    -- One writer at a time; readers go on.
    lock table note in share row exclusive mode;
    select coalesce(max(number) + 1, 0) into ours from note;
    if ours <> next then
        return case when ours < next then 'lost' else 'behind' end;
    end if;
    insert into note (number, line, sum)
        select next + i - 1, lines[i], sums[i] from generate_subscripts(lines, 1) as i order by i;
    return 'said';
end $$;
