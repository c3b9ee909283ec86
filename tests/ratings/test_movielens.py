"""The four forms of MovieLens' packs, and what is wrong with them."""

import numpy as np
import pytest

from helpers.errors import BadInput
from helpers.ratings import GENRES, movielens

CSV_FILMS = (
    "movieId,title,genres\n"
    '1,"American President, The (1995)",Comedy|Drama|Romance\n'
    "2,Amélie (Fabuleux destin) (2001),Comedy|Romance\n"
    '4,"He said ""no"" (1986)",(no genres listed)\n'
    "7,Babylon 5,Sci-Fi|IMAX\n"
)
CSV = "userId,movieId,rating,timestamp\n1,2,3.5,20\n1,1,4.0,10\n2,7,0.5,30\n"
FLAGS = {"Comedy": 5, "Drama": 8, "Children's": 4}


def _item(film: int, title: str, date: str, *genres: str) -> str:
    flags = ["1" if i in [FLAGS[g] for g in genres] else "0" for i in range(19)]
    return "|".join([str(film), title, date, "", "http://x", *flags])


@pytest.fixture
def pack(tmp_path):
    def write(**content: str | bytes):
        for name, text in content.items():
            file = tmp_path / name.replace("__", "-").replace("_", ".")
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path

    return write


def _names(found, film: int) -> list[str]:
    return [GENRES[place] for place in found.films.genres[film] if place]


def test_a_pack_of_csv(pack):
    found = movielens.read(pack(ratings_csv=CSV, movies_csv=CSV_FILMS))
    assert found.titles[1] == "American President, The" and found.titles[4] == 'He said "no"'
    assert found.titles[2] == "Amélie (Fabuleux destin)" and found.films.year[2] == 2001
    assert found.films.year[7] == 0 and found.films.year[3] == 0
    assert _names(found, 1) == ["Comedy", "Drama", "Romance"] and _names(found, 4) == []
    assert _names(found, 7) == ["Sci-Fi", "IMAX"]
    assert found.ratings.stars.tolist() == [3.5, 4.0, 0.5] and found.said == []


def test_ml_1m_is_latin_1(pack):
    films = "1::Misérables, Les (1995)::Drama|Musical\n3::Toy (1999)::Children's\n".encode(
        "latin-1"
    )
    found = movielens.read(pack(ratings_dat="5::1::4::100\n5::3::2::90\n", movies_dat=films))
    assert found.titles[1] == "Misérables, Les" and _names(found, 3) == ["Children"]
    assert found.ratings.time.tolist() == [100, 90], "in any order"


def test_ml_100k(pack):
    films = "\n".join(
        [
            _item(1, "Toy Story (1995)", "01-Jan-1995", "Comedy", "Children's"),
            _item(2, "unknown", ""),
            _item(3, "Four Rooms", "01-Jan-1996", "Drama"),
        ]
    )
    found = movielens.read(pack(u_data="9\t1\t5\t7\n9\t3\t1\t8\n", u_item=films.encode("latin-1")))
    assert found.films.year.tolist() == [0, 1995, 0, 1996]
    assert _names(found, 1) == ["Children", "Comedy"] and _names(found, 2) == []


def test_the_form_of_recbole(pack):
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    items = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    found = movielens.read(
        pack(
            **{"ml__100k_inter": header + "1\t2\t3\t4\n"},
            **{"ml__100k_item": items + "2\tToy Story\t1995\tAnimation Children's Comedy\n"},
        )
    )
    assert found.titles == {2: "Toy Story"} and found.films.year[2] == 1995
    assert _names(found, 2) == ["Animation", "Children", "Comedy"]


def test_what_was_rated_again_counts_once_with_the_later_rating(pack):
    again = CSV + "1,2,1.0,15\n1,1,2.0,40\n"
    found = movielens.read(pack(ratings_csv=again, movies_csv=CSV_FILMS))
    assert found.said == ["2 ratings were given again later by the same user: the last counts"]
    kept = zip(found.ratings.film, found.ratings.stars, strict=True)
    assert sorted(kept) == [(1, 2.0), (2, 3.5), (7, 0.5)]


@pytest.mark.parametrize(
    ("ratings", "films", "said"),
    [
        ("", CSV_FILMS, "ratings.csv is empty: unpack it again"),
        (CSV, b"", "movies.csv is empty"),
        (CSV + "1,3,4.0,5\n", CSV_FILMS, "ratings.csv, row 4: film 3 is not in movies.csv"),
        (CSV + "1,99,4.0,5\n", CSV_FILMS, "row 4: film 99 is not in"),
        (CSV + "0,1,4.0,5\n", CSV_FILMS, "ratings.csv, row 4: user 0 is no id"),
        (CSV + "1,1,9.0,5\n", CSV_FILMS, "row 4: 9.0 stars"),
        (CSV + "1,1,four,5\n", CSV_FILMS, "ratings.csv is damaged: .*four"),
        (CSV + "1,1,4.0\n", CSV_FILMS, "ratings.csv is damaged: .*Expected 4 columns"),
        (CSV, CSV_FILMS + '9,"cut in the mid', "movies.csv is damaged"),
        (CSV, CSV_FILMS + "9,Title\n", "movies.csv, row 5: 2 cells, not 3"),
        (CSV, CSV_FILMS + "nine,Title,Drama\n", "row 5: 'nine' is no id of a film"),
        (CSV, CSV_FILMS + "-1,Title,Drama\n", "ids of films must be from 1"),
    ],
)
def test_a_damaged_pack_is_told_with_file_and_row(pack, ratings, films, said):
    with pytest.raises(BadInput, match=said):
        movielens.read(pack(ratings_csv=ratings, movies_csv=films))


def test_a_folder_without_a_pack_says_what_a_pack_is(tmp_path):
    (tmp_path / "ratings.csv").write_text(CSV)
    with pytest.raises(BadInput, match=r"it has ratings.csv.*u.data and u.item"):
        movielens.read(tmp_path)
    with pytest.raises(BadInput, match="it has nothing"):
        movielens.read(tmp_path / "nowhere")


def test_genres_of_another_catalogue_are_told(pack):
    films = CSV_FILMS + "8,New (2020),Drama|Anime\n"
    found = movielens.read(pack(ratings_csv=CSV, movies_csv=films))
    assert found.said == ["genres that MovieLens does not have: Anime"]
    assert _names(found, 8) == ["Drama"]
    assert np.array_equal(found.films.genres.shape, [9, 3])
