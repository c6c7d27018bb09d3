"""Names of the statistics of hidden states, and what each is. A contract with users."""

MATCHED = "_type_matched"
"""Ending of a statistic of one random occurrence per token type."""

ANISOTROPY = "anisotropy"
UNCENTERED = "anisotropy_uncentered"
WITHOUT_FIRST = "anisotropy_without_first"
UNIT_ROWS = "anisotropy_unit_rows"
WITHOUT_SPECIAL = "anisotropy_without_special"
WITHOUT_OUTLYING = "anisotropy_without_outlying"
FREQUENCY_NULL = "anisotropy_frequency_null"
MARCHENKO_PASTUR = "anisotropy_marchenko_pastur"
TWONN_090, TWONN_020, TWONN_MLE = "twonn_090", "twonn_020", "twonn_mle"
LINEAR_090, LINEAR_020 = "twonn_090_linear_reference", "twonn_020_linear_reference"
FIT_GAP, LOG_MU_VARIATION = "fit_gap", "log_mu_variation"
DECIMATED = {2: "twonn_090_half", 4: "twonn_090_quarter", 8: "twonn_090_eighth", 16: "twonn_090_sixteenth"}
"""Names of the dimension of a cloud thinned to one row in so many."""

MEANINGS = {
    ANISOTROPY: "share of the energy in the leading direction, centred",
    UNCENTERED: "the same without centring",
    WITHOUT_FIRST: "the same, centred, without the first position of each chunk, where attention sinks lie",
    UNIT_ROWS: "the same, of rows scaled to unit length and then centred",
    WITHOUT_SPECIAL: "the same, centred, without special tokens",
    WITHOUT_OUTLYING: "the same, centred, without rows whose norm is over 10 times the median",
    "outlying_rows": "rows whose norm is over 10 times the median",
    FREQUENCY_NULL: "anisotropy of isotropic vectors, one per token type, repeated as often as the corpus repeats them",
    MARCHENKO_PASTUR: "anisotropy of distinct isotropic rows, in the limit of many: (1 + sqrt(D / N))^2 / D",
    "top_channel_share": "share of the centred energy in the channel of largest variance",
    "participation_ratio": "(sum lambda)^2 / sum lambda^2 of the covariance's eigenvalues",
    "effective_rank": "exponential of the entropy of the singular values (Roy and Vetterli 2007)",
    "iso_score": "IsoScore (Rudman et al. 2022): 0 in one direction, 1 in all alike",
    "mean_cosine": "mean cosine of two different rows, not centred (Ethayarajh 2019)",
    TWONN_090: "TwoNN dimension, line through the smallest 90 % of the ratios (Facco et al. 2017)",
    TWONN_020: "TwoNN dimension, line through the smallest 20 % of the ratios",
    TWONN_MLE: "TwoNN dimension by maximum likelihood",
    LINEAR_090: "twonn_090 of a Gaussian with the covariance of the distinct rows without first positions",
    LINEAR_020: "twonn_020 of the same Gaussian",
    FIT_GAP: "twonn_020 over twonn_090; 1 where the ratios follow one law",
    LOG_MU_VARIATION: "deviation over mean of ln(r2 / r1); 1 where the ratios follow one law",
    **{name: f"twonn_090 at 1 in {share} of the rows, mean over the parts" for share, name in DECIMATED.items()},
    "same_token_neighbors": "share of rows whose nearest neighbour is the same token",
    "same_chunk_neighbors": "share of rows whose nearest neighbour stands in the same chunk",
}
"""What each statistic is; all but the frequency null exist with the ending ``MATCHED`` too."""

ALL_TOKENS = (
    ANISOTROPY,
    UNCENTERED,
    WITHOUT_FIRST,
    WITHOUT_SPECIAL,
    "top_channel_share",
    "participation_ratio",
    "effective_rank",
    "iso_score",
    "mean_cosine",
)
"""Statistics that are also taken of all tokens of a layer at once, from exact moments."""

SINGLE_DIMENSION = (0.9, 1.1)
"""Outside this range of fit_gap or log_mu_variation no single dimension describes the cloud."""

NO_SINGLE_DIMENSION, ONE_DIMENSION = "no single dimension", "one dimension"
